#!/bin/sh
# The smallest Debian that the hardware tests run on, as an initramfs: tree.sh FOLDER PYTHON
# Makes FOLDER/vmlinuz and FOLDER/initrd from Debian and PyPI packages and this worktree alone, with the PYTHON of its
# virtual environment. What is there already and still fits is kept.
set -eu
folder=$1 python=$2
root=$(dirname "$(readlink -f "$0")")/../..
lock=$root/requirements.lock
tree=$folder/tree
mkdir -p "$folder"

if [ ! -e "$folder/packages.done" ]; then
  rm -rf "$tree"
  # The machine's own sources and, where it has any, its own way to them
  set --
  for conf in /etc/apt/apt.conf.d/*; do
    grep -qs '^Acquire::http\|^Acquire {' "$conf" && set -- "$@" --aptopt="$conf"
  done
  for source in /etc/apt/sources.list /etc/apt/sources.list.d/*.list /etc/apt/sources.list.d/*.sources; do
    [ -s "$source" ] && sources="${sources:-} $source"
  done
  # shellcheck disable=SC2086
  mmdebstrap --quiet --mode=root --variant=minbase --skip=check/empty \
    --aptopt='APT::Install-Recommends "false"' --aptopt='Acquire::Languages "none"' "$@" \
    --dpkgopt='path-exclude=/usr/share/man/*' --dpkgopt='path-exclude=/usr/share/doc/*' \
    --dpkgopt='path-exclude=/usr/share/locale/*' \
    --include=python3,python3-venv,kmod,iproute2,e2fsprogs,smartmontools,chrony,busybox-static \
    --customize-hook='chroot "$1" sh -c "cd /srv && apt-get download -qq \$(apt-cache depends linux-image-amd64 |
      awk \"/Depends: linux-image/ {print \\\$2; exit}\")"' \
    bookworm "$tree" $sources
  dpkg-deb --fsys-tarfile "$tree"/srv/linux-image-*.deb | tar -x -C "$tree" --keep-directory-symlink
  rm "$tree"/srv/*.deb
  mv "$tree"/boot/vmlinuz-* "$folder/vmlinuz"
  keep='/(nvme|e1000e|i6300esb|tpm|serial|virtio|ext4|jbd2|mbcache|crc|libcrc|t10|rng|hwmon|ptp|pps|net/core|watchdog)'
  find "$tree/lib/modules" -name '*.ko' | grep -Ev "$keep" | xargs rm -f
  chroot "$tree" depmod "$(ls "$tree/lib/modules")"
  rm -rf "$tree"/boot/* "$tree"/var/lib/apt/lists/* "$tree"/var/cache/apt/*
  touch "$folder/packages.done"
fi

if [ ! -e "$folder/python.done" ] || [ "$lock" -nt "$folder/python.done" ]; then
  cp "$lock" "$tree/tmp/lock"
  chroot "$tree" python3 -m venv --clear /venv
  "$python" -m pip download --quiet --require-hashes --only-binary :all: --python-version 3.11 \
    --dest "$tree/tmp/wheels" -r "$lock"
  env -i PATH=/usr/sbin:/usr/bin:/sbin:/bin chroot "$tree" /venv/bin/pip install --quiet --no-index --find-links /tmp/wheels \
    --require-hashes -r /tmp/lock
  rm -rf "$tree/tmp/wheels" "$tree/tmp/lock"
  chroot "$tree" /venv/bin/python -m compileall -q --invalidation-mode unchecked-hash /usr/lib/python3.11 /venv || true
  (cd "$tree" && find . -print0 | cpio --quiet --null --create --format newc) | zstd -q -1 -T0 -f -o "$folder/base.cpio"
  touch "$folder/python.done"
fi

# The gateway as a package, before that: the kernel takes one archive after another, the last may be compressed
over=$folder/over site=$folder/over/venv/lib/python3.11/site-packages
rm -rf "$over" "$folder"/*.whl "$root/build/lib"
mkdir -p "$site"
"$python" -m pip wheel --quiet --no-deps --no-build-isolation --wheel-dir "$folder" "$root"
"$python" -m zipfile -e "$folder"/modality_gateway-*.whl "$site"
"$python" -m compileall -q --invalidation-mode unchecked-hash -s "$over" "$site"
cp "$root/tests/guest/init" "$over/init"
(cd "$over" && find . -print0 | cpio --quiet --null --create --format newc) > "$folder/initrd"
cat "$folder/base.cpio" >> "$folder/initrd"
