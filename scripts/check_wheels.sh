#!/usr/bin/env bash
# Builds every distribution, looks into the wheels, installs them in an empty environment and runs the LlamaIndex
# example there, away from the source tree. Usage: scripts/check_wheels.sh [python with build and hatchling; default .venv's]
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."
root=$PWD
python=${1:-$root/.venv/bin/python}
[ -x "$python" ] || { echo "$python is missing: run make install-dev first, or name a python that has build and hatchling" >&2; exit 2; }

work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
export PIP_DISABLE_PIP_VERSION_CHECK=1

# The wheel is built from the sdist, so both are checked.
for folder in models/o1-embedder-22m . integrations/chroma-o1 integrations/langchain-o1 integrations/llama-index-o1 eval; do
    "$python" -m build --no-isolation --outdir "$work/dist" "$folder" >"$work/build.log" 2>&1 || { cat "$work/build.log" >&2; exit 1; }
done

"$python" - "$work/dist" <<'PY'
import sys
import zipfile
from pathlib import Path, PurePosixPath

PACKAGES = {
    "chroma_o1": "chroma_o1",
    "langchain_o1": "langchain_o1",
    "llama_index_o1": "llama_index",
    "o1_embedder_22m": "o1_embedder_22m",
    "o1_retriever": "o1_retriever",
    "o1_retriever_eval": "o1_eval",
}
FOREIGN = {"tests", "recipe", "demos", "benchmarks", "examples", "scripts", "conftest.py"}

wheels = {path.name.split("-")[0]: path for path in Path(sys.argv[1]).glob("*.whl")}
assert wheels.keys() == PACKAGES.keys(), f"wheels built: {sorted(wheels)}"
for distribution, package in PACKAGES.items():
    with zipfile.ZipFile(wheels[distribution]) as wheel:
        names = wheel.namelist()
    content = [name for name in names if ".dist-info/" not in name]
    outside = [name for name in content if not name.startswith(package + "/")]
    assert not outside, f"{distribution} holds files outside of {package}: {outside[:5]}"
    foreign = [name for name in content if FOREIGN & set(PurePosixPath(name).parts) or "/test_" in name]
    assert not foreign, f"{distribution} holds what no user needs: {foreign[:5]}"
    assert any(name.endswith("/py.typed") for name in names), f"{distribution} has no py.typed"
    assert any(name.endswith("/licenses/LICENSE") for name in names), f"{distribution} has no licence"
weights = "o1_embedder_22m/checkpoint/model.safetensors"
with zipfile.ZipFile(wheels["o1_embedder_22m"]) as wheel:
    assert weights in wheel.namelist(), f"o1_embedder_22m has no {weights}"
    size = wheel.getinfo(weights).file_size
assert size > 1_000_000, f"{weights} has {size} bytes only: is it the file itself?"
for path in sorted(wheels.values()):
    print(f"{path.name}: {path.stat().st_size / 1e6:.1f} MB")
PY

# By path, so that no index can offer another distribution of the same name.
"$python" -m venv "$work/venv"
"$work/venv/bin/python" -m pip -qq install --no-compile -c constraints.txt "$work"/dist/*.whl
mkdir "$work/elsewhere"
cp examples/llama_index_quickstart.py "$work/elsewhere/"
cd "$work/elsewhere"
echo "The example, from the wheels alone:"
HF_HUB_OFFLINE=1 ANONYMIZED_TELEMETRY=False "$work/venv/bin/python" llama_index_quickstart.py
