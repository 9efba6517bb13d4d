"""What schemathesis cannot make up: pictures. Half of the files are some, so that answers that went
well are seen too."""

import base64
import pathlib

import schemathesis
from hypothesis import strategies as st

# Small ones of every format, broken ones among them.
FOLDER = pathlib.Path(__file__).parents[1] / "fixtures" / "images"
PICTURES = sorted(
    path.read_bytes()
    for path in FOLDER.iterdir()
    if path.suffix in {".png", ".jpg", ".gif", ".webp", ".bmp", ".tiff"} and path.stat().st_size < 30_000
)
assert len(PICTURES) > 20, FOLDER

FILES = st.one_of(st.sampled_from(PICTURES), st.binary(max_size=200))

schemathesis.openapi.format("binary", FILES)
schemathesis.openapi.format("byte", FILES.map(lambda data: base64.b64encode(data).decode()))
