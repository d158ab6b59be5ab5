"""The card of a published model, whatever its classes and data are called."""

from sottovoce.inference import model_card


def test_hostile_names_are_words_of_the_card_and_no_markup():
    config = {
        "task": {"classes": ["<script>x</script>", "a|b", "no_speech"]},
        "settings": {"backbone": "gru", "track": "fbank", "finetune": {"mode": "full"}},
        "training_data": ["[voices](http://x) (CC0-1.0)"],
        "licence": "MIT",
    }
    scores = {"n": 4, "speakers": 2, "metrics": {"ua": {"value": 0.5}, "recall_a|<b>": {"value": 0.25}}}
    said = model_card.card("a/b", config, scores)
    assert "<" not in said.replace("\\<", "")
    assert "Emotion in speech: \\<script\\>x\\</script\\>, a\\|b, no\\_speech." in said
    assert "- \\[voices\\](http://x) (CC0-1.0)" in said
    assert "| UA | 0.500 |\n| recall a\\|\\<b\\> | 0.250 |" in said
