"""The card of a published model, as the hub shows it: data, licence, figures, limits, use and misuse."""

import re
from collections.abc import Mapping
from typing import Any

from sottovoce.evaluation import lines
from sottovoce.report.words import metric_name, text

USE = """## Use

```sh
pip install sottovoce
sottovoce predict --model {name} talk.mp3
```
```python
import sottovoce

recogniser = sottovoce.load("{name}")
print(recogniser("talk.mp3").probabilities)
```
"""
LIMITS = """## Limits, and what it is not for

The answer is how a voice sounds to listeners of the training data, not what a person feels: acted and spontaneous
speech, languages, ages, rooms and lines differ, and a model is worse where it was not taught. Look at your own
recordings before you rely on it.

It is meant for research, for finding passages in recordings, and for talking about recordings with those who are in
them. It is not meant for decisions about people (work, school, credit, police, health), nor for listening to people
who do not know of it; in the European Union emotion recognition at work and in education is forbidden (Regulation
2024/1689, art. 5).
"""


def card(name: str, config: Mapping[str, Any], scores: Mapping[str, Any]) -> str:
    """Markdown with the hub's front matter."""
    names = ", ".join(map(_words, config["task"]["classes"] or config["task"]["target"]))
    settings, licence = config["settings"], _words(config["licence"])
    data = "\n".join(f"- {_words(line)}" for line in config["training_data"])
    return "\n".join(
        [
            _front(config),
            f"# {name}\n",
            f"Emotion in speech: {names}. Made with Sottovoce: backbone `{settings['backbone']}` on "
            f"`{settings['track']}`, {settings['finetune']['mode']} ({config.get('labels') or 'unknown'} labels).\n",
            USE.format(name=name),
            f"## Training data\n\n{data}\n",
            f"## Licence\n\n{licence}. It holds for the weights; whoever passes them on passes it on.\n",
            _figures(scores),
            LIMITS,
        ]
    )


def _front(config: Mapping[str, Any]) -> str:
    licence = config["licence"]
    plain = licence.lower().replace(" ", "-")
    known = plain.startswith(("cc", "mit", "apache", "bsd", "gpl", "lgpl", "openrail", "agpl", "mpl"))
    lines = [f"license: {plain}"] if known else ["license: other", f"license_name: {_quoted(licence)}"]
    lines += ["library_name: sottovoce", "pipeline_tag: audio-classification"]
    lines += ["tags:", "- speech-emotion-recognition"]
    if config.get("languages"):
        lines += ["language:", *(f"- {_quoted(word)}" for word in config["languages"])]
    return "\n".join(["---", *lines, "---", ""])


def _quoted(words: str) -> str:
    """As one YAML string, whatever is in it."""
    return "'" + " ".join(words.split()).replace("'", "''") + "'"


def _words(given: str) -> str:
    r"""Names of others as they are, not as Markdown, HTML or a further column.

    >>> print(_words("<b>no_speech|[x]"))
    \<b\>no\_speech\|\[x\]
    """
    return re.sub(r"([\\`*_\[\]<>#|~&$])", r"\\\1", text(given))


def _figures(scores: Mapping[str, Any]) -> str:
    metrics = scores.get("metrics") or {}
    if not metrics:
        return "## Figures\n\nNot evaluated: judge it on recordings of your own first (`sottovoce evaluate`).\n"
    rows = [f"| {_words(metric_name(key))} | {lines.score(value)} |" for key, value in metrics.items()]
    head = f"On {scores.get('n', '?')} recordings of {scores.get('speakers') or 'unknown'} speakers it has not heard:"
    return "\n".join(["## Figures\n", head, "", "| score | value, 95 % |", "|---|---|", *rows, ""])
