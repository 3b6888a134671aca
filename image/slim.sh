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

# Matplotlib draws SVG alone: fonts are the page's, and TrueType is for PDF and PostScript.
for font in "$site"/matplotlib/mpl-data/fonts/*/*; do
    case $font in */DejaVuSans.ttf | */DejaVuSans-Bold.ttf | */LastResort*) ;; *) rm -f "$font" ;; esac
done
rm -rf "$site"/matplotlib/mpl-data/sample_data "$site"/matplotlib/mpl-data/images "$site"/mpl_toolkits/ax* \
    "$site"/matplotlib/backends/*qt* "$site"/matplotlib/backends/*gtk* "$site"/matplotlib/backends/*wx* \
    "$site"/matplotlib/backends/*tk* "$site"/matplotlib/backends/web_backend
for part in "$site"/fontTools/*/ "$site"/fontTools/misc/*; do
    case $part in */misc/ | */__init__.py | */loggingTools.py | */textTools.py) ;; *) rm -rf "$part" ;; esac
done

# No algorithm takes AVIF, or writes on images.
rm -rf "$site"/PIL/_avif* "$site"/PIL/_imagingft* "$site"/pillow.libs/libavif* "$site"/pillow.libs/libharfbuzz* \
    "$site"/pillow.libs/libfreetype* "$site"/pillow.libs/libbrotli*

# For tests alone.
rm -rf "$site"/numpy/_core/_simd* "$site"/xgboost/testing

# Arrow's ways to remote files, its plans and its other formats: a job reads Parquet from files and FIFOs.
rm -rf "$site"/pyarrow/*flight* "$site"/pyarrow/*s3* "$site"/pyarrow/_gcsfs* "$site"/pyarrow/_azurefs* \
    "$site"/pyarrow/_hdfs* "$site"/pyarrow/*substrait* "$site"/pyarrow/*orc* "$site"/pyarrow/*dataset* \
    "$site"/pyarrow/*acero* "$site"/pyarrow/_feather* "$site"/pyarrow/*encryption* "$site"/pyarrow/*cpp_tests* \
    "$site"/pyarrow/*.pxi "$site"/pyarrow/libarrow_python.so "$site"/pyarrow/libarrow_python.so.*.*.*

# Programs that try torch's C++ side out.
rm -rf "$site"/torch/test "$site"/torch/bin/*test* "$site"/torch/bin/protoc*

# XGBoost asks for scipy, and takes nothing but sparse matrices from it. An algorithm that wants more names scipy itself.
if [ -d "$site/scipy" ] && ! grep -q '^scipy' /build/algorithm.txt; then
    (cd "$site/scipy" && rm -rf cluster datasets differentiate fft fftpack integrate interpolate io linalg misc \
        ndimage odr optimize signal sparse/linalg spatial special stats ../scipy.libs)
fi

# Symbols. Libraries that a wheel's maker changed after linking (auditwheel) don't survive this; these do.
find "$site/llvmlite" "$site/pyarrow" "$site/kiwisolver" "$site/contourpy" "$site/matplotlib" "$lib"/libpython3* \
    "$lib"/python3*/lib-dynload -name '*.so*' -type f -exec strip --strip-unneeded {} + 2>/dev/null || true

# Not by date: packing layers may change a file's date, and nobody but root could compile anew.
# Some packages hold files for newer Pythons, which don't compile.
python -m compileall -qq -j 0 --invalidation-mode unchecked-hash "$lib" || true
