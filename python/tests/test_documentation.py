import re
import shutil
from pathlib import Path

import pytest

DOCUMENTATION = Path(__file__).parents[2] / "docs/python.md"


def test_every_snippet_works(pipeline, tmp_path, monkeypatch):
    pytest.importorskip("pandas")
    pytest.importorskip("polars")
    # Another pipeline with the same nodes, which takes less time.
    (tmp_path / "pipelines").mkdir()
    shutil.copy(pipeline, tmp_path / "pipelines/quickstart.ron")
    monkeypatch.chdir(tmp_path)
    snippets = re.findall(r"```python\n(.*?)```", DOCUMENTATION.read_text(encoding="utf-8"), re.DOTALL)
    try:
        import torch  # noqa: F401
    except ImportError:
        snippets = [snippet for snippet in snippets if "state_dict" not in snippet]
    assert len(snippets) >= 6
    names = {}
    for snippet in snippets:
        exec(snippet, names)
