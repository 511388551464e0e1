#!/usr/bin/env bash
# SPDX-License-Identifier: GPL-2.0-only
#
# The kernel "arm64": that of Debian trixie for arm64, in an emulated machine. Its root is only unpacked, since its
# programs cannot run on the host; the modules are cross-compiled in a root of the host's architecture, which has the
# headers of the same kernel. Sourced by root.sh.
# shellcheck disable=SC2034 # root.sh, layer.sh and boot.sh read them

[[ -n ${IPTNL_ARM64:-} ]] && return
readonly IPTNL_ARM64=1

# Unpacked packages: including dependencies, but without essential packages.
readonly ARM64_PACKAGES=(
	linux-image-arm64
	base-files bash busybox-static coreutils dash findutils grep gzip hostname kmod mount procps sed util-linux xz-utils
	iperf3 iproute2 iputils-ping jq tcpdump
)
readonly ARM64_BUILD_PACKAGES=(make gcc libc6-dev kmod sparse gcc-14-aarch64-linux-gnu)
# Arguments of make for cross compilation, and QEMU with a machine
readonly ARM64_MAKE=(ARCH=arm64 CROSS_COMPILE=aarch64-linux-gnu- CC=aarch64-linux-gnu-gcc-14)
readonly ARM64_QEMU=(qemu-system-aarch64 -machine virt -cpu cortex-a72)

arm64_root_make() { # KERNEL DIR
	local dir=$2
	if [[ $1 == arm64-build ]]; then
		bootstrap "kernel arm64" trixie "$dir.tmp" --variant=apt --architectures=amd64,arm64 \
			--include="$(root_packages arm64-build | paste -sd ,)" \
			--customize-hook="'$VM_DIR/add-arm64-headers' \"\$1\""
	else
		root_ensure arm64-build
		bootstrap "kernel arm64" trixie "$dir.tmp" --variant=extract --architectures=arm64 --skip=check/qemu \
			--include="$(root_packages arm64 | paste -sd ,)"
		arm64_configure "$dir.tmp"
	fi
}

# The necessary part of what the maintainer scripts would have done.
arm64_configure() { # DIR
	local release
	release=$(root_release "$1")
	printf '%s\n' root:x:0:0:root:/root:/bin/bash tcpdump:x:100:100::/nonexistent:/usr/sbin/nologin >"$1/etc/passwd"
	printf '%s\n' root:x:0: tcpdump:x:100: >"$1/etc/group"
	mkdir -p "$1/usr/lib/modules/$release/updates" "$1/root" "$1/mnt"
	# shellcheck disable=SC2016
	arm64_in_build -b "$1/usr/lib/modules:/mnt/root/usr/lib/modules" -- \
		sh -c 'ln -s usr/lib /mnt/root/lib && depmod -b /mnt/root "$1"' - "$release"
}

arm64_in_build() { # [-b SOURCE:TARGET]... -- COMMAND...
	"$VM_DIR/in-root" "$(root_path arm64-build)" "$@"
}

arm64_kdir() {
	local dir
	dir=$(compgen -G "$(root_path arm64-build)/usr/src/linux-headers-*-arm64") || die "kernel arm64: no headers"
	echo "/usr/src/${dir##*/}"
}
