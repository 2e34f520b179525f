"""The image ids of `results.json`."""

from collections.abc import Sequence
from pathlib import Path, PurePosixPath

from cvkit.data.named import Names
from cvkit.errors import DataError
from cvkit.texts import counted, read_json, shown, whole_number


class ImageIds:
    """Assigns ids to images: those of a COCO file, or numbers.

    Args:
        file: what `--image-ids` names; None without it.

    Raises:
        DataError: it is not a COCO file.
    """

    def __init__(self, file: Path | None) -> None:
        self.file = file
        self.known = {} if file is None else _read_ids(file)
        self.names = Names(list(self.known))

    def of(self, paths: Sequence[str]) -> dict[str, int]:
        """Return the id of each path.

        Without a file, the id is the image's file name if all of them are numbers, else its
        position, from 1.

        Raises:
            DataError: the file lacks an image, or two paths match the same one.
        """
        if self.file is None:
            return _numbers(paths)
        names = {path: self._name(path) for path in paths}
        found = {path: name for path, name in names.items() if name is not None}
        if missing := [path for path in names if path not in found]:
            raise DataError(
                f"--image-ids {self.file} lacks {counted(len(missing), 'image')}, such as "
                f"{missing[0]}",
                code="image_ids.missing",
                hint=f"it has file names such as {next(iter(self.known))}",
            )
        owners: dict[str, str] = {}
        for path, name in found.items():
            if (other := owners.setdefault(name, path)) != path:
                raise DataError(
                    f"--image-ids {self.file}: {other} and {path} both match its image {name}",
                    code="image_ids.twice",
                    hint="predict only one of them, or use paths as file names in that file",
                )
        return {path: self.known[name] for path, name in found.items()}

    def _name(self, path: str) -> str | None:
        """Return the file name in the COCO file that a path matches; None if there is none.

        Raises:
            DataError: it matches several.
        """
        last = PurePosixPath(path).name
        places = self.names.find_inside(path) or self.names.find(last)
        if len(places) > 1:
            names = [self.names.names[place] for place in places[:2]]
            raise DataError(
                f"--image-ids {self.file}: {path} may be {names[0]} or {names[1]}",
                code="image_ids.ambiguous",
                hint="run predict in the folder to which its file names are relative",
            )
        return self.names.names[places[0]] if places else None


def _read_ids(file: Path) -> dict[str, int]:
    """Return the id of each file name.

    Raises:
        DataError: it is not a COCO file, or its images are missing or malformed.
    """
    try:
        rows = read_json(file, unique_keys=False)["images"]
        numbers = [whole_number(row["id"]) for row in rows]
        names = [row["file_name"] for row in rows]
        if not names or not all(isinstance(name, str) for name in names):
            raise ValueError("it has no images with a file name")
        if odd := [r["id"] for r, number in zip(rows, numbers, strict=True) if number is None]:
            raise ValueError(f"id {shown(odd[0])} is not a whole number")
        pairs = zip(names, numbers, strict=True)
        result = {name: number for name, number in pairs if number is not None}
        if len(set(result.values())) < len(rows):
            raise ValueError("a file name or id occurs twice")
    except (DataError, ValueError, KeyError, TypeError) as error:
        reason = f"no {error}" if isinstance(error, KeyError) else error
        raise DataError(
            f"--image-ids {file} is not a COCO file: {reason}",
            code="image_ids.syntax",
            hint='it needs "images": [{"file_name", "id"}, ...]',
        ) from error
    return result


def _numbers(paths: Sequence[str]) -> dict[str, int]:
    stems = [PurePosixPath(path).stem for path in paths]
    if all(stem.isdecimal() for stem in stems):
        numbers = [int(stem) for stem in stems]
        if len(set(numbers)) == len(numbers):
            return dict(zip(paths, numbers, strict=True))
    return {path: number for number, path in enumerate(paths, 1)}
