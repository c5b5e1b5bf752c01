"""Images to verdicts: decoding, patches, networks, bundles and votes.

The package imports neither Django nor `trainer`. These modules import no PyTorch, so that a web server can check an
upload cheaply: `classifier.imaging.decode`, `classifier.grid`, `classifier.votes`.

Floors, from the top; a module imports from lower floors only (a contract in `pyproject.toml`):

- `__main__`: the command;
- `predictor`: images to predictions;
- `bundle`: a model on disk;
- `bundle_archive`, `bundle_metadata`, `networks`, and `engine/`, which runs networks fast;
- `imaging/`: bytes to pixels, pixels to network inputs;
- `votes`: patches to a verdict;
- `grid`: the places of patches;
- `utils/`: translatable messages, and defences against zip files.
"""
