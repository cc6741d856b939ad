#!/bin/sh
# Installs Mailroom from its tarball on any Linux: the program, its manual page and completions, annotated files, the service.
#
#   ./install.sh                installs, or upgrades what is there; files in /etc/mailroom that anybody has changed stay as they are
#   ./install.sh --uninstall    takes program and service away; mail and configuration stay
#
# PREFIX (default /usr/local) says where to; DESTDIR, for those who make packages, is put before every path and leaves the service out.
set -eu
prefix=${PREFIX:-/usr/local}
root=${DESTDIR:-}
here=$(cd "$(dirname "$0")" && pwd)

if [ -z "$root" ] && [ "$(id -u)" != 0 ]; then
  echo "install.sh: run it as root: sudo $0 $*" >&2
  exit 1
fi

files="bin/mailroom share/man/man1/mailroom.1 share/bash-completion/completions/mailroom share/zsh/site-functions/_mailroom share/fish/vendor_completions.d/mailroom.fish"
templates=$root$prefix/share/mailroom
has_systemd() { [ -z "$root" ] && command -v systemctl >/dev/null; }

if [ "${1:-}" = --uninstall ]; then
  if has_systemd && [ -e /etc/systemd/system/mailroom.service ]; then "$prefix/bin/mailroom" service uninstall; fi
  for file in $files; do rm -f "$root$prefix/$file"; done
  rm -rf "$templates"
  echo "Mailroom is gone. Mail stays in /var/lib/mailroom, configuration in /etc/mailroom."
  exit 0
fi

for file in $files; do
  mode=644
  [ "$file" != bin/mailroom ] || mode=755
  case $file in
    *complet* | *functions*) from=$here/completions/$(basename "$file") ;;
    *) from=$here/$(basename "$file") ;;
  esac
  mkdir -p "$root$prefix/$(dirname "$file")"
  # beside it first, so that a running program keeps the file that it was started from
  cp "$from" "$root$prefix/$file.new"
  chmod $mode "$root$prefix/$file.new"
  mv "$root$prefix/$file.new" "$root$prefix/$file"
done
mkdir -p "$root/etc/mailroom/mappings" "$templates/mappings"
chmod 750 "$root/etc/mailroom"
for file in mailroom.toml mappings/office.toml; do
  # An annotated file that nobody has changed since the old version put it there makes room for the new one.
  if [ ! -e "$root/etc/mailroom/$file" ] || cmp -s "$templates/$file" "$root/etc/mailroom/$file"; then
    cp "$here/etc/$file" "$root/etc/mailroom/$file"
    chmod 640 "$root/etc/mailroom/$file"
  fi
  cp "$here/etc/$file" "$templates/$file"
  chmod 644 "$templates/$file"
done

if has_systemd; then
  "$prefix/bin/mailroom" --config /etc/mailroom/mailroom.toml service install
  if cmp -s "$here/etc/mailroom.toml" /etc/mailroom/mailroom.toml; then
    echo "Next: \`$prefix/bin/mailroom init /etc/mailroom\` asks and writes the files, \`$prefix/bin/mailroom service start\` starts it."
  elif [ -d /run/systemd/system ]; then
    systemctl try-restart mailroom
  fi
elif [ -z "$root" ]; then
  # What `service install` does where there is systemd: an account of its own, which owns the store and may change the mappings.
  store=/var/lib/mailroom
  if ! grep -q '^mailroom:' /etc/passwd; then
    if command -v useradd >/dev/null; then
      useradd --system --user-group --no-create-home --home-dir $store --shell /sbin/nologin mailroom
    else
      # BusyBox, as in Alpine
      addgroup -S mailroom
      adduser -S -D -H -h $store -s /sbin/nologin -G mailroom mailroom
    fi
  fi
  if [ ! -d $store ]; then
    mkdir -p $store
    chmod 700 $store
    chown mailroom:mailroom $store
  fi
  chgrp mailroom /etc/mailroom /etc/mailroom/mailroom.toml
  chown -R mailroom:mailroom /etc/mailroom/mappings
  if cmp -s "$here/etc/mailroom.toml" /etc/mailroom/mailroom.toml; then
    echo "Next: \`$prefix/bin/mailroom init /etc/mailroom\` asks and writes the files."
  fi
  echo "No systemd here: let the system start \`$prefix/bin/mailroom run --last-good\`; as root, it runs as the owner of its store."
fi
