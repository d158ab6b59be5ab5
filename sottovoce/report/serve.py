"""A server's own page: drop a recording or record one; what is heard in it comes as the page of `view`."""

from collections.abc import Sequence

from markupsafe import Markup

from sottovoce.report import page, words
from sottovoce.report.predict import roles

CHANNELS = {"mix": "all channels together", "left": "left", "right": "right", "each": "each channel is a speaker"}
SCRIPT, TRUSTED = page.script("serve.js")
# The pages that take this one's place are under the same policy.
POLICY = (
    f"default-src 'none'; script-src {TRUSTED} {page.script('view.js')[1]}; style-src 'unsafe-inline'; img-src data:; "
    "media-src blob:; connect-src 'self'; base-uri 'none'; form-action 'none'"
)


def serve_page(
    names: Sequence[str], *, upload_mb: float, longest_s: float, licence: str = "", key: bool = False
) -> str:
    """What a server of these classes (or numbers) shows at `/`.

    Args:
        licence: of the model.
        key: clients have to bring one.
    """
    colours = roles([words.text(name) for name in names])
    return page.render(
        "serve.html", {}, title="Emotion in a recording", legend=list(colours.items()), channels=list(CHANNELS.items()),
        most_mb=words.number(upload_mb), most_bytes=str(round(upload_mb * 1e6)), longest_s=str(longest_s),
        longest=words.count(max(round(longest_s / 60), 1), "minute"), licence=licence, key=key, script=SCRIPT,
        policy=Markup(POLICY),
    )  # fmt: skip
