#!/bin/sh
# Installs what the parts beside this script hold; no network is needed.
#   sh install.sh        check the parts, join them in wheels/, install into the current environment
#   sh install.sh join   stop before installing
# PYTHON=python3.12 sh install.sh takes another Python than python3.
set -eu
LC_ALL=C
export LC_ALL
cd "$(dirname "$0")"

fail() {
    echo "error: $*" >&2
    exit 1
}

[ -f SHA256SUMS ] || fail "there is no SHA256SUMS beside install.sh; copy the whole bundle again"
if command -v sha256sum >/dev/null; then sum=sha256sum; else sum='shasum -a 256'; fi
if ! $sum -c SHA256SUMS >check.log 2>&1; then
    grep -v ': OK$' check.log >&2
    fail "parts are missing or damaged; copy them again"
fi
rm check.log

rm -rf wheels wheels.partial
mkdir wheels.partial
for file in part-*/*; do
    name=$(basename "$file")
    case $name in
        *.cut-001)
            name=${name%.cut-001}
            cat part-*/"$name".cut-* >"wheels.partial/$name"
            ;;
        *.cut-[0-9][0-9][0-9]) ;;
        *) ln "$file" "wheels.partial/$name" 2>/dev/null || cp "$file" "wheels.partial/$name" ;;
    esac
done
mv wheels.partial wheels
if [ "${1:-}" = join ]; then exit 0; fi

python=${PYTHON:-python3}
version=$(cat python-version)
found=$("$python" -c 'import sys; print("%d.%d" % sys.version_info[:2])')
[ "$found" = "$version" ] ||
    fail "these wheels are for Python $version, $python is $found;" \
        "run PYTHON=python$version sh install.sh"
if "$python" -m pip show --quiet onnxruntime >/dev/null 2>&1; then
    fail "onnxruntime is installed, and the files of its CUDA build have the same names;" \
        "run $python -m pip uninstall onnxruntime, then this again"
fi

install() {
    "$python" -m pip install --no-index --find-links wheels "$@"
}

if install -r requirements.txt; then exit 0; fi
# One by one: what does not compile here keeps none of the others back.
failed=
while read -r requirement; do
    install "$requirement" </dev/null || failed="$failed $requirement"
done <requirements.txt
[ -z "$failed" ] || fail "not installed:$failed"
