#!/usr/bin/env bash
# SPDX-License-Identifier: GPL-2.0-only
#
# The distribution's kernel sources: the debug kernels are built from them, and lint takes checkpatch from that of
# SOURCE_KERNEL. Sourced.

[[ -n ${IPTNL_SOURCE:-} ]] && return
readonly IPTNL_SOURCE=1
# shellcheck source=tools/testing/vm/root.sh
source "$(dirname "${BASH_SOURCE[0]}")/root.sh"

export SOURCE_KERNEL=6.12 # of lint

# The packed source that goes with the release the root of KERNEL holds.
source_path() { # KERNEL
	echo "$CACHE/sources/linux-$(root_release "$(root_path "$1")").tar.xz"
}

# linux-source-6.12: the package, and the directory in the packed source
source_name() { # KERNEL
	echo "linux-source-$(root_release "$(root_path "$1")" | cut -d . -f 1,2)"
}

source_ensure() { # KERNEL
	root_ensure "$1"
	[[ -f $(source_path "$1") ]] || with_lock source source_make "$1" "$(source_path "$1")"
}

source_make() { # KERNEL FILE
	local tmp=$2.tmp name
	[[ ! -f $2 ]] || return 0
	name=$(source_name "$1")
	say "fetching $name (once, 150 MB)"
	bootstrap "kernel source" "$(root_suite "$(root_name "$1")")" "$tmp" --variant=extract --include="$name"
	mv "$tmp/usr/src/$name.tar.xz" "$2"
	rm -rf --one-file-system "$tmp"
}

# source_unpack_most KERNEL DIR : x86 and s390, without documentation and drivers of hardware: other architectures and these
# are a third of the source. Their Kconfig files are there.
source_unpack_most() {
	source_unpack "$1" "$2" --exclude='*/arch/'{[!sx],s[hp]}'*/*.[chS]' --exclude='*/Documentation/*/*' --exclude='*/sound/*.[ch]' \
		--exclude='*/drivers/'{gpu,iio,infiniband,media,net/ethernet,net/wireless,scsi,staging,usb}'/*.[ch]'
}

# source_unpack KERNEL DIR [TAR-OPTION|MEMBER...] : all of it, or these members (without the leading directory).
source_unpack() {
	local kernel=$1 dir=$2 argument arguments=()
	shift 2
	for argument; do
		[[ $argument == -* ]] || argument=$(source_name "$kernel")/$argument
		arguments+=("$argument")
	done
	mkdir -p "$dir"
	tar -xJf "$(source_path "$kernel")" -C "$dir" --strip-components=1 "${arguments[@]}"
}
