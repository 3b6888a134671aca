#!/bin/sh
# Leaves out of an installation what no job reads, and compiles the rest to bytecode:
#   slim.sh /usr/local
set -eu
lib=$1/lib
site=$(echo "$lib"/python3*/site-packages)

find "$lib" -depth \( \
    -type d \( -name tests -o -name include -o -name __pycache__ \) -o \
    -type f \( -name '*.pyi' -o -name '*.pyx' -o -name '*.pxd' -o -name '*.a' -o -name '*.h' \) \
\) -exec rm -rf {} +

# Arrow's ways to remote files: a job reads files and FIFOs.
rm -rf "$site"/pyarrow/*flight* "$site"/pyarrow/*s3* "$site"/pyarrow/_gcsfs* "$site"/pyarrow/_azurefs* \
    "$site"/pyarrow/_hdfs*

# Programs that try torch's C++ side out.
rm -rf "$site"/torch/test "$site"/torch/bin/*test* "$site"/torch/bin/protoc*

# XGBoost asks for scipy, and takes nothing but sparse matrices from it. An algorithm that wants more names scipy itself.
if [ -d "$site/scipy" ] && ! grep -q '^scipy' /build/algorithm.txt; then
    (cd "$site/scipy" && rm -rf cluster datasets differentiate fft fftpack integrate interpolate io linalg misc \
        ndimage odr optimize signal sparse/linalg spatial special stats ../scipy.libs)
fi

# Symbols. Libraries that a wheel's maker changed after linking (auditwheel) don't survive this; these do.
find "$site/llvmlite" "$site/pyarrow" "$lib"/libpython3* "$lib"/python3*/lib-dynload -name '*.so*' -type f \
    -exec strip --strip-unneeded {} + 2>/dev/null || true

# Not by date: packing layers may change a file's date, and nobody but root could compile anew.
# Some packages hold files for newer Pythons, which don't compile.
python -m compileall -qq -j 0 --invalidation-mode unchecked-hash "$lib" || true
