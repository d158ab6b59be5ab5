"""From recordings and tables to batches: corpora, tasks, folds, runs, audio, tracks and their stores."""
