#!/usr/bin/env bash
# Once, in the root of dlrun's checkout: what a bare machine with a GPU, Python 3.12 and torch lacks, into .whl/ and
# .gpudata/, which git does not see. Take both along; there check.sh does all checks. README.md beside this says which.
set -eu
kit=$(cd -- "$(dirname -- "${BASH_SOURCE[0]}")" && pwd)
[ -f src/dlrun/training/cuda_graph.py ] || { echo "prepare.sh: call it in the root of dlrun's checkout" >&2; exit 2; }
python=${PYTHON:-python3}

# Compared with the list of packages on that machine; the versions are those of requirements.txt where it has them.
NEEDED="hydra-core omegaconf annotated-types google-crc32c optuna colorlog plotly hydra-joblib-launcher hydra-submitit-launcher submitit"
FALLBACK="hydra-core==1.3.8 omegaconf==2.3.1 annotated-types==0.8.0 google-crc32c==1.9.0 optuna==5.0.0 colorlog==6.12.0
plotly==7.1.0 hydra-joblib-launcher==1.2.0 hydra-submitit-launcher==1.2.0 submitit==1.5.4"
ANTLR=antlr4-python3-runtime==4.9.3 # has no wheel: built here, pure Python

pins=''
for name in $NEEDED; do
    pin=$(sed -n "s/^\($name==[^ ;]*\).*/\1/p" requirements.txt)
    [ -n "$pin" ] || pin=$(printf '%s\n' $FALLBACK | grep "^$name==")
    pins="$pins $pin"
done

for folder in .whl .gpudata; do
    grep -qx "/$folder/" .git/info/exclude 2>/dev/null || echo "/$folder/" >>.git/info/exclude
done
rm -rf .whl .gpudata
mkdir -p .whl .gpudata/kit .gpudata/MNIST/raw

platforms=''
for number in 28 27 24 17; do platforms="$platforms --platform manylinux_2_${number}_x86_64"; done
# shellcheck disable=SC2086
"$python" -m pip download -q --no-deps --only-binary=:all: --python-version 3.12 --implementation cp \
    $platforms --platform manylinux2014_x86_64 --platform manylinux1_x86_64 -d .whl $pins 2> >(grep -v '^WARNING: Location' >&2)
"$python" -m pip wheel -q --no-deps -w .whl "$ANTLR" 2> >(grep -v '^WARNING: Location' >&2)

data=${DLRUN_DATA:-$HOME/.cache/dlrun}
for name in train-images-idx3 train-labels-idx1 t10k-images-idx3 t10k-labels-idx1; do
    cp -- "$data/MNIST/raw/$name-ubyte.gz" .gpudata/MNIST/raw/
done
cp -- "$kit"/check.sh "$kit"/*.py .gpudata/kit/
chmod -R u+w .gpudata

count=$(find .whl -type f -name '*.whl' | wc -l)
[ "$count" = $(($(wc -w <<<"$pins") + 1)) ] || { echo "prepare.sh: $count wheels in .whl, but two of one package stop the whole install, and one missing all of dlrun" >&2; exit 1; }
echo "$count wheels, $(du -sm .whl .gpudata | awk '{s += $1} END {print s}') MiB to carry; git sees neither:"
git status --short | head -5
cat <<'END'
Next, on the machine with the GPU, with .whl and .gpudata beside the checkout's files (480 s at most):
  bash .gpudata/kit/check.sh
END
