#!/bin/sh
# Installs Ocelot from an archive, or upgrades it, or removes it.
#
#     install.sh ARCHIVE [--prefix DIR] [--root DIR]
#     install.sh --remove [--prefix DIR] [--root DIR]
#
# Nothing is touched but its own files below PREFIX (/usr/local), which are listed in
# PREFIX/share/ocelot/installed. Settings in /etc/ocelot and what the programs keep stay as they are. What
# runs goes on with the program that it was started from until it is started again. --root installs into
# another system's folder.
set -eu
export LC_ALL=C
umask 022

usage() { sed -n '2,10s/^# \{0,1\}//p' "$0"; exit 2; }
fail() { echo "install.sh: $*" >&2; exit 1; }

archive='' prefix=/usr/local root='' remove=''
while [ $# -gt 0 ]; do
    case "$1" in
        --prefix) [ $# -ge 2 ] || usage; prefix=$2; shift ;;
        --root) [ $# -ge 2 ] || usage; root=${2%/}; shift ;;
        --remove) remove=yes ;;
        -*) usage ;;
        *) [ -z "$archive" ] || usage; archive=$1 ;;
    esac
    shift
done
case "$prefix" in /*) prefix=${prefix%/} ;; *) fail "--prefix begins with /" ;; esac
case "$root" in '' | /*) ;; *) root=$PWD/$root ;; esac
list=$root$prefix/share/ocelot/installed

# Forgets a file of an older installation, unless somebody has changed it.
forget() { # SUM PATH
    [ -f "$root$2" ] || return 0
    if [ "$(sha256sum <"$root$2" | cut -d' ' -f1)" = "$1" ]; then
        rm -f "$root$2"
    else
        echo "left as it is, because it was changed: $root$2"
    fi
}

# Lists what an installation holds: the sum and the path of each file, and the folders that it made.
files_of() { sed -n 's/^file //p' "$1"; }
folders_of() { sed -n 's/^folder //p' "$1" | sort -r; }

if [ -n "$remove" ]; then
    [ -z "$archive" ] || usage
    [ -f "$list" ] || fail "nothing is installed below $root$prefix"
    files_of "$list" | while read -r sum path; do forget "$sum" "$path"; done
    folders=$(folders_of "$list")
    rm -f "$list"
    echo "$folders" | while read -r folder; do
        # One that somebody else uses now is left.
        [ -z "$folder" ] || rmdir "$root$folder" 2>/dev/null || true
    done
    echo "removed; settings in $root/etc/ocelot and what the programs kept are untouched"
    exit 0
fi

[ -n "$archive" ] || usage
[ -f "$archive" ] || fail "there is no $archive"
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT

# First the checksums: of the archive, if its own is beside it, and then of every file in it.
if [ -f "$archive.sha256" ]; then
    [ "$(cut -d' ' -f1 <"$archive.sha256")" = "$(sha256sum <"$archive" | cut -d' ' -f1)" ] ||
        fail "$archive is not what $archive.sha256 says"
fi
mkdir "$work/tree"
tar -xzf "$archive" -C "$work/tree" --strip-components=1 --no-same-owner || fail "$archive cannot be unpacked"
cd "$work/tree"
[ -f SHA256SUMS ] || fail "$archive holds no SHA256SUMS"
sha256sum --check --strict --quiet SHA256SUMS || fail "$archive is damaged: nothing was installed"
find . -type f ! -name SHA256SUMS | sed 's|^\./||' | sort >"$work/there"
sed 's/^[0-9a-f]*  //' SHA256SUMS | sort >"$work/listed"
cmp -s "$work/there" "$work/listed" || fail "$archive holds files that its SHA256SUMS does not: nothing was installed"

# What goes where.
cat >"$work/map" <<MAP
755 bin/ocelot $prefix/bin/ocelot
755 bin/ocelot-controller $prefix/bin/ocelot-controller
755 bin/ocelot-executor $prefix/bin/ocelot-executor
644 systemd/ocelot-controller.service $prefix/lib/systemd/system/ocelot-controller.service
644 systemd/ocelot-executor.service $prefix/lib/systemd/system/ocelot-executor.service
644 completions/ocelot.bash $prefix/share/bash-completion/completions/ocelot
644 completions/_ocelot $prefix/share/zsh/site-functions/_ocelot
644 completions/ocelot.fish $prefix/share/fish/vendor_completions.d/ocelot.fish
644 LICENSE $prefix/share/doc/ocelot/LICENSE
644 INSTALL.md $prefix/share/doc/ocelot/INSTALL.md
MAP
[ "$prefix" = /usr/local ] || sed -i "s|/usr/local/|$prefix/|g" systemd/*.service

# Makes a folder and those above it, and notes which were not there.
make_folder() {
    [ -d "$root$1" ] && return 0
    make_folder "$(dirname "$1")"
    mkdir "$root$1"
    echo "folder $1" >>"$work/new"
}

: >"$work/new"
[ -z "$root" ] || [ -d "$root" ] || fail "there is no $root"
while read -r mode from to; do
    # Another's file is no business of ours.
    if [ -e "$root$to" ] && ! { [ -f "$list" ] && files_of "$list" | grep -q " $to\$"; }; then
        fail "$root$to is there, and no installation of this kind put it there: nothing was installed"
    fi
done <"$work/map"
while read -r mode from to; do
    make_folder "$(dirname "$to")"
    # Beside its place, and then into it in one step: whoever runs the old one keeps it.
    cp "$from" "$root$to.new"
    chmod "$mode" "$root$to.new"
    mv -f "$root$to.new" "$root$to"
    echo "file $(sha256sum <"$root$to" | cut -d' ' -f1) $to" >>"$work/new"
done <"$work/map"
make_folder "$prefix/share/ocelot"

# What the older one had and this one has not is forgotten; the folders that it made stay on the list.
if [ -f "$list" ]; then
    files_of "$list" | while read -r sum path; do
        grep -q "^file [0-9a-f]* $path\$" "$work/new" || forget "$sum" "$path"
    done
    folders_of "$list" | sed 's/^/folder /' >>"$work/new"
    did=upgraded
else
    did=installed
fi
sort -u "$work/new" >"$list.new"
mv -f "$list.new" "$list"

version=$("$work/tree/bin/ocelot" version --client 2>/dev/null || echo "ocelot of another kind of machine")
echo "$did: $version, below $root$prefix"
if [ -z "$root" ] && [ -d /run/systemd/system ]; then
    systemctl daemon-reload
    for unit in ocelot-controller ocelot-executor; do
        if systemctl --quiet is-active "$unit"; then
            echo "$unit goes on as it was; to take the new one: systemctl restart $unit"
        fi
    done
fi
