"""Datasets in parquet files, which are refused with the command that unpacks them."""

import pytest

from cvkit.data.formats.recognise import UNPACK, detect_format
from cvkit.errors import CvkitError
from cvkit.format_table import FORMATS


@pytest.mark.parametrize("truth", FORMATS)
@pytest.mark.parametrize("folder", ["data", "."])
def test_parquet_files_are_refused_with_the_command_that_unpacks_them(tmp_path, truth, folder):
    (tmp_path / folder).mkdir(exist_ok=True)
    (tmp_path / folder / "train-00000-of-00001.parquet").write_bytes(b"PAR1")
    with pytest.raises(CvkitError, match="has parquet files") as caught:
        detect_format(truth, tmp_path)
    assert caught.value.code == "data.parquet"
    assert "datasets" in caught.value.hint
    if truth in UNPACK:
        code = caught.value.hint.partition('python -c "')[2].removesuffix('"')
        assert str(tmp_path) in code
        compile(code, "hint", "exec")
