"""One vocabulary over all corpora: which of their words mean which of `corpus.EMOTIONS`, and how to overrule that.

A reader declares LABELS, {its own word or code: our word}. `--map a=b` and `--drop c` arrive here as one dictionary,
`relabel`, {a: b, c: ""}; a name on the left may be the corpus's word or ours. "" leaves the utterance out.
"""

import difflib
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace

from sottovoce.data.corpus import EMOTIONS, Utterance, spelt
from sottovoce.errors import InputError

DROP = ""

_WORDS = {
    "neutral": "neu neutrality n neutral_state neutral-state natural no_emotion",
    "calm": "calmness relaxed cal",
    "happy": "hap happiness joy joyful h freude amused_happy happily glad",
    "sad": "sadness s trauer sorrow sorrowful unhappy",
    "angry": "ang anger a mad rage furious aerger ärger wut",
    "fear": "fea fearful afraid f scared anxiety anxious angst fright panic fears",
    "disgust": "dis disgusted disgusting d ekel disgusts",
    "surprise": "sur surprised surprising ps pleasant_surprise pleasant_surprised su astonishment amazed surprises",
    "boredom": "bor bored boring boredem langeweile",
    "contempt": "con contemptuous scorn",
}
# Single letters mean different things in different corpora (A is anger in SAVEE, fear in Emo-DB): readers' business.
SYNONYMS = {w: name for name, words in _WORDS.items() for w in (name, *words.split()) if len(w) > 1}


def canonical(word: str) -> str | None:
    """Our word for a label as people write it, None when it is none of ours.

    >>> canonical(" Happiness"), canonical("ANG"), canonical("frustrated")
    ('happy', 'angry', None)
    """
    return SYNONYMS.get(_fold(word))


def _fold(word: str) -> str:
    return spelt(word).strip().casefold()


def overrides(maps: Sequence[str], drops: Sequence[str]) -> dict[str, str]:
    """`--map a=b,c=d` and `--drop e,f` as {a: b, c: d, e: "", f: ""}.

    >>> overrides(["excited=happy,calm=neutral"], ["xxx"])
    {'excited': 'happy', 'calm': 'neutral', 'xxx': ''}

    Raises InputError for anything else, and for a name given twice.
    """
    pairs: list[tuple[str, str]] = []
    for text in maps:
        for part in filter(None, map(str.strip, text.split(","))):
            left, eq, right = (piece.strip() for piece in part.partition("="))
            if not (left and eq and right):
                raise InputError(f"--map {text}: not a map. Found {part!r}. Write --map old=new, e.g. excited=happy.")
            pairs.append((left, right))
    pairs += [(part.strip(), DROP) for text in drops for part in text.split(",") if part.strip()]
    found: dict[str, str] = {}
    for left, right in pairs:
        if found.setdefault(left, right) != right:
            raise InputError(f"--map/--drop: {left!r} is given twice. Found {found[left]!r} and {right!r}. Keep one.")
    return found


def rename(
    labels: Mapping[str, str],
    relabel: Mapping[str, str] | None,
    where: str,
    default: Mapping[str, str] | None = None,
    *,
    emotions: bool | None = None,
) -> dict[str, str]:
    """What every word of a corpus is called in the end; "" = leave the utterance out.

    What stands on the right of a map is a word of the corpus or of ours in any spelling, or a new name; a word that is
    itself mapped goes on to where that one leads.

    Args:
        labels: {word of the corpus: our word}.
        relabel: overrides; the corpus's word goes before ours.
        where: for the message.
        default: overrides of a protocol, which yield to `relabel`.
        emotions: whether the label is an emotion, so that new names are spelt our way; default: if one of `labels` is.

    >>> rename({"exc": "excited", "hap": "happy"}, {"hap": ""}, "x", {"excited": "happy"})
    {'exc': 'happy', 'hap': ''}
    >>> rename({"exc": "excited", "hap": "happy"}, {"exc": "hap"}, "x")
    {'exc': 'happy', 'hap': 'happy'}
    >>> rename({"exc": "excited", "hap": "happy"}, {"excited": "Happiness", "happy": "positive"}, "x")
    {'exc': 'positive', 'hap': 'positive'}

    Raises InputError for a name on the left that is neither.
    """
    wanted = _wanted(labels, relabel, where)
    if emotions is None:
        emotions = not set(EMOTIONS).isdisjoint(labels.values())
    known = [*labels, *labels.values()]
    near, forms = _folded(known), _folded(list(wanted.values()))

    def target(right: str) -> tuple[str, str]:
        """(the key it is mapped under itself or "", our word) of what stands on the right."""
        name = right if right in known else near.get(_fold(right), "")
        word = labels.get(name, name) or (emotions and canonical(right)) or forms.get(_fold(right), right)
        return next((key for key in (name, word, right) if key in wanted), ""), word

    def end(key: str) -> str:
        """Where a map leads; a circle (a=b,b=a) is an exchange, and a class that is left out leads nowhere."""
        words: dict[str, str] = {}  # by the keys on the way
        while wanted[key] != DROP and key not in words:
            following, words[key] = target(wanted[key])
            if not following or following == key or wanted[following] == DROP:
                return words[key]
            key = following
        return next(iter(words.values()), DROP)

    found = {}
    for native, word in labels.items():
        protocol = (default or {}).get(native, (default or {}).get(word, word))
        key = next((name for name in (native, word, protocol) if name in wanted), None)
        found[native] = protocol if key is None else end(key)
    return found


def _wanted(labels: Mapping[str, str], relabel: Mapping[str, str] | None, where: str) -> dict[str, str]:
    """The overrides by the word of the corpus or of ours that they are about, or by a name that another one gives."""
    known = [*dict.fromkeys([*labels, *labels.values()])]
    given = [right for right in (relabel or {}).values() if right]
    return {
        left if left in given and left not in known else _known(left, known, where): right
        for left, right in (relabel or {}).items()
    }


def _folded(words: Sequence[str]) -> dict[str, str]:
    return {_fold(word): word for word in reversed(words)}


def look_up(words: Mapping[str, str], native: str, where: str) -> str:
    """`words[native]`; InputError naming the file when the corpus has no such label."""
    if native not in words:
        known = ", ".join(words)
        raise InputError(f"{where}: unknown label {native!r}. Known: {known}. Correct the name or take the file out.")
    return words[native]


def own_words(
    seen: Mapping[str, str], relabel: Mapping[str, str] | None, where: str, *, own: bool = False
) -> dict[str, str]:
    """The same for a corpus without a reader: words in a table or names of folders.

    Words of emotion are spelt our way ("Anger" -> "angry"). A set in which no word is one of ours is a label set of
    its own and is kept. Words of both sorts together are a typo more often than not, and refused unless `own`.

    Args:
        seen: {word: where it was first seen}.
        relabel: overrides, on the word as written or as we spell it.
        where: for the message.
        own: keep unknown words as they are.

    Raises InputError for unknown words, and for a name on the left of `relabel` that does not occur.
    """
    ours = {word: canonical(word) for word in seen}
    forms = _folded([word for word in seen if len(word.strip()) > 1])  # "Stressed" and "stressed" are one; A and a two
    labels = {word: name or forms.get(_fold(word), word).strip() for word, name in ours.items()}
    relabel = {left if (form := forms.get(_fold(left), left)) in (relabel or {}) else form: right
               for left, right in (relabel or {}).items()}  # fmt: skip
    found = rename(labels, relabel, where, emotions=True)
    left = set(_wanted(labels, relabel, where))
    strange = [w for w, name in ours.items() if name is None and left.isdisjoint((w, w.strip(), labels[w]))]
    if strange and any(ours.values()) and not own:
        word = strange[0]
        near = difflib.get_close_matches(word.casefold(), list(SYNONYMS), n=1)
        hint = f" Did you mean {SYNONYMS[near[0]]!r}?" if near else ""
        more = f" (and {', '.join(strange[1:6])})" if strange[1:] else ""
        raise InputError(
            f"{where}: unknown label {word!r}{more}, first at {seen[word]}. Known: {', '.join(EMOTIONS)}.{hint} "
            f"Use --map {word.strip()}=NAME, --drop {word.strip()}, or --own-classes to keep such words."
        )
    return found


def apply(utterances: Iterable[Utterance], relabel: Mapping[str, str], label: str, where: str) -> list[Utterance]:
    """Utterances whose class label was read already, renamed or left out.

    Raises InputError for a name on the left that does not occur.
    """
    utterances = list(utterances)
    present = sorted({str(u.labels[label]) for u in utterances if label in u.labels})
    words = rename({word: word for word in present}, relabel, where, emotions=label == "emotion" or None)
    found = []
    for u in utterances:
        word = words[str(u.labels[label])] if label in u.labels else None
        if word == DROP:
            continue
        found.append(u if word is None else replace(u, labels={**u.labels, label: word}))
    return found


def _known(name: str, known: Sequence[str], where: str) -> str:
    found = name if name in known else _folded(known).get(_fold(name), canonical(name))
    if found in known:
        return str(found)
    near = difflib.get_close_matches(name, known, n=1)
    hint = f" Did you mean {near[0]!r}?" if near else ""
    raise InputError(f"{where}: --map/--drop names {name!r}, which is no label. There are: {', '.join(known)}.{hint}")
