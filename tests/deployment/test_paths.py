"""The guide to deployment names files that exist."""

import re
from fnmatch import fnmatch


def test_docs_name_paths_that_exist(project):
    guide = (project / "docs" / "deployment.md").read_text()
    names = [path.relative_to(project).as_posix() for path in project.rglob("*")]
    for path in re.findall(r"`((?:deploy|requirements|src|vendor)/?[\w./-]*)`", guide):
        assert any(fnmatch(name, path) for name in names), path
