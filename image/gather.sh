#!/bin/sh
# Gathers one algorithm's image out of the source tree, and what pip must install for it:
#   gather.sh kmeans cpu
# /image is laid over the image's root; /build/common.txt is what every image needs, /build/algorithm.txt the rest.
set -eu
algorithm=$1 device=$2

folder=$(python -m common.manifest images | awk -v name="$algorithm" '$1 == name { print $2 }')
if [ -z "$folder" ]; then
    echo "build argument ALGORITHM is '$algorithm'; accepted:" $(python -m common.manifest images | cut -d' ' -f1) >&2
    exit 1
fi

mkdir -p /build
python -c '
import tomllib
project = tomllib.load(open("pyproject.toml", "rb"))["project"]
print(*project["dependencies"], sep="\n")
' >/build/common.txt
python -m common.manifest packages "$algorithm" --device "$device" >/build/algorithm.txt

code=/image/opt/algodock
mkdir -p "$code/containers" "$code/kernels" /image/usr/local/bin
cp -r common serve "$code"
cp -r containers/__init__.py "containers/$folder" "$code/containers"
find "$code" -name __pycache__ -prune -exec rm -r {} +
python -m compileall -q --invalidation-mode unchecked-hash "$code"
cp image/start.py /image/usr/local/bin/train
cp image/start.py /image/usr/local/bin/serve

# ImageNet weights of the networks that this algorithm has, if the checkout holds any.
mkdir -p /image/opt/pretrained
for network in $(python -m common.manifest pretrained "$algorithm"); do
    [ -e "pretrained/$network.params" ] || continue
    cp "pretrained/$network.params" /image/opt/pretrained
    grep "  $network.params\$" pretrained/sha256sums.txt >>/image/opt/pretrained/sha256sums.txt
done

# Another user than root may start the container with a part of /opt/ml mounted.
for folder in input model models output; do mkdir -p "/image/opt/ml/$folder"; done
chmod -R a+rwX,+t "$code/kernels" /image/opt/ml
