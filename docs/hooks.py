"""What the site shows of the rest of the repository: pictures, notebooks, model cards, and the pages at the root.

Links in docs/ lead to these files as they lie in a checkout, `../results/kodak.png`. On the site each has the same path
below the site's root, `results/kodak.png`, and links are rewritten accordingly. A link to any other file outside docs/
stays, and so fails the build.
"""

import re
from pathlib import Path

from mkdocs.structure.files import File

ROOT = Path(__file__).resolve().parent.parent
SHOWN = ("results/*.png", "notebooks/*.ipynb", "lic_jax/zoo/*.md", "examples/*.py", "CONTRIBUTING.md", "CHANGELOG.md")

_LINK = re.compile(r"(\]\()((?:\.\./)+)((?:results|notebooks|lic_jax/zoo|examples)/|(?:CONTRIBUTING|CHANGELOG)\.md)")


def on_files(files, config):
    """Adds the files that `SHOWN` names."""
    for path in sorted(path for pattern in SHOWN for path in ROOT.glob(pattern)):
        uri = path.relative_to(ROOT).as_posix()
        files.append(File.generated(config, uri, abs_src_path=str(path)))
    return files


def on_page_markdown(markdown, page, config, files):
    """Rewrites links between docs/ and the rest of the repository to paths of the site."""
    if page.file.src_uri in ("CONTRIBUTING.md", "CHANGELOG.md"):
        return markdown.replace("](docs/", "](")
    return _LINK.sub(lambda link: f"{link[1]}{link[2][3:]}{link[3]}", markdown)
