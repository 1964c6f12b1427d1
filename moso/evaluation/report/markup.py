"""HTML from Python: `tag("p", "a < b", id="x")` -> `<p id="x">a &lt; b</p>`.

Text is escaped unless it is Markup itself.
"""

from __future__ import annotations

import html

VOID = frozenset({"circle", "input", "line", "link", "meta", "path"})


class Markup(str):
    """Text that is HTML already."""

    __slots__ = ()


def tag(name: str, /, *children: object, **attributes: object) -> Markup:
    """An element.

    Args:
        name: of the element; those of `VOID` take no children.
        children: Markup as it is, anything else as escaped text; None is left out.
        attributes: a trailing "_" is dropped and "_" becomes "-" (class_, text_anchor); None is left out.
    """
    given = "".join(
        f' {key.rstrip("_").replace("_", "-")}="{html.escape(str(value), quote=True)}"'
        for key, value in attributes.items()
        if value is not None
    )
    # The slash matters to SVG's elements, which would nest without it; HTML's own ignore it.
    return Markup(f"<{name}{given}/>" if name in VOID and not children else f"<{name}{given}>{join(children)}</{name}>")


def page_head(title: str, style: str) -> Markup:
    """The head of a page that stands alone: its style inside, no icon to ask for.

    Args:
        title: of the page.
        style: CSS.
    """
    return tag(
        "head",
        tag("meta", charset="utf-8"),
        tag("meta", name="viewport", content="width=device-width, initial-scale=1"),
        tag("link", rel="icon", href="data:,"),
        tag("title", title),
        tag("style", Markup(style)),
    )


def join(children: object) -> Markup:
    """Children one after another, text escaped."""
    items = children if isinstance(children, (list, tuple)) else [children]
    return Markup("".join(_markup(item) for item in items))


def _markup(item: object) -> str:
    if item is None:
        return ""
    if isinstance(item, (list, tuple)):
        return join(item)
    return item if isinstance(item, Markup) else html.escape(str(item), quote=True)
