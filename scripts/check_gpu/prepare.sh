#!/usr/bin/env bash
# Once, where there is a network: what a bare machine with a GPU, Python 3.12, torch and torchvision lacks, into .whl and
# .gpudata in the root of the checkout. git sees neither. Take both along; there `bash scripts/check_gpu/check.sh` does the rest.
set -eu
cd -- "$(dirname -- "${BASH_SOURCE[0]}")/../.."
python=${PYTHON:-python3}

# Compared with the packages of such a machine. polars is left out: it is large, and only large tables need it.
NEEDED="hydra-core omegaconf annotated-types google-crc32c optuna colorlog plotly hydra-joblib-launcher"
ANTLR=antlr4-python3-runtime # has no wheel: built here, pure Python

pin() { grep -x "$1==[^ ;]*" requirements.txt; }
pins=$(for name in $NEEDED; do pin "$name"; done)

for folder in .whl .gpudata; do
    grep -qx "/$folder/" .git/info/exclude 2>/dev/null || echo "/$folder/" >>.git/info/exclude
done
rm -rf .whl .gpudata
mkdir -p .whl .gpudata/MNIST/raw
git describe --always --dirty --abbrev=12 >.gpudata/commit

platforms=''
for number in 28 27 24 17; do platforms="$platforms --platform manylinux_2_${number}_x86_64"; done
# shellcheck disable=SC2086
"$python" -m pip download -q --no-deps --only-binary=:all: --python-version 3.12 --implementation cp \
    $platforms --platform manylinux2014_x86_64 --platform manylinux1_x86_64 -d .whl $pins 2> >(grep -v '^WARNING: Location' >&2)
"$python" -m pip wheel -q --no-deps -w .whl "$(pin $ANTLR)" 2> >(grep -v '^WARNING: Location' >&2)
count=$(find .whl -type f -name '*.whl' | wc -l)
[ "$count" = $(($(wc -w <<<"$pins") + 1)) ] || {
    echo "prepare.sh: $count wheels in .whl, but two of one package stop the whole install, and one missing all of dlrun" >&2
    exit 1
}

data=${DLRUN_DATA:-$HOME/.cache/dlrun} # where `dlrun train dataset=mnist` puts it
for name in train-images-idx3 train-labels-idx1 t10k-images-idx3 t10k-labels-idx1; do
    cp -- "$data/MNIST/raw/$name-ubyte.gz" .gpudata/MNIST/raw/
done
copy=CIFAR10/cifar10-jpeg.tar.gz # where it is there; the original is too large to take along
[ ! -f "$data/$copy" ] || { mkdir .gpudata/CIFAR10 && cp -- "$data/$copy" .gpudata/CIFAR10/; }
chmod -R u+w .gpudata
echo "$count wheels, $(du -sm .whl .gpudata | awk '{s += $1} END {print s}') MiB to take along. On the machine with the GPU:"
echo "  bash scripts/check_gpu/check.sh"
