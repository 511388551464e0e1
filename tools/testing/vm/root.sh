#!/usr/bin/env bash
# SPDX-License-Identifier: GPL-2.0-only
#
# Root directories: one Debian userland per kernel, with the kernel's image, its headers, the compiler that
# built it and the tools the tests call. Made once by mmdebstrap from its own default mirror. Sourced.

[[ -n ${IPTNL_ROOT:-} ]] && return
readonly IPTNL_ROOT=1
# shellcheck source=tools/testing/vm/lib.sh
source "$(dirname "${BASH_SOURCE[0]}")/lib.sh"
# shellcheck source=tools/testing/vm/arm64.sh
source "$VM_DIR/arm64.sh"

readonly ROOT_RECIPE=1 # increment when roots are made differently
ROOT_PACKAGES=(
	make gcc libc6-dev perl sparse                     # building and checking the modules
	bc bison flex libelf-dev libssl-dev xz-utils       # building the debug kernel
	busybox-static # for the initramfs
	kmod mount hostname procps util-linux libcap2-bin psmisc strace less jq
	iproute2 iputils-ping iputils-arping traceroute iperf3 socat
	tcpdump python3 python3-scapy ethtool bpftool nftables iptables
)

root_suite() {
	case ${1%%-*} in
	6.1) echo bookworm ;;
	6.12 | arm64) echo trixie ;;
	newest | 7.2) echo trixie-backports ;;
	esac
}

# The series of a kernel whose suite may have a newer one; others use the default of the suite.
root_series() {
	case $1 in
	7.2) echo 7.2 ;;
	esac
}

# The newest kernel of a series with headers in a root's package lists. Headers are removed from the archive first.
newest_release() { # ROOT SERIES
	local name="linux-headers-${2/./[.]}[.][0-9]+[+~]deb[0-9]+-amd64" release
	release=$(chroot "$1" apt-cache search --names-only "^$name\$" | sed 's/ .*//; s/^linux-headers-//' |
		sort -V | tail -n 1)
	[[ -n $release ]] || die "the archive has no headers of a kernel $2 any more"
	echo "$release"
}

# newest_ask KERNEL... : if "newest" is one of them and has a root already, check at most once a day whether the archive
# has a newer kernel. That one gets a new root, made when needed.
newest_ask() {
	local root lists release
	[[ " $* " == *' newest '* ]] || return 0
	root=$(root_path newest)
	[[ -d $root && -z $(find "$CACHE/newest" -mmin -1440 2>/dev/null) ]] || return 0
	lists=$(mktemp -d)
	mkdir "$lists/partial"
	release=$("$VM_DIR/in-root" "$root" -w -b "$lists:/var/lib/apt/lists" -- \
		sh -c 'apt-get -q update >/dev/null 2>&1 && apt-cache depends linux-image-amd64' |
		sed -n 's/.*Depends: linux-image-\([0-9].*\)/\1/p') || true
	rm -r "$lists"
	if [[ -z $release ]]; then
		say "kernel newest: cannot check whether the archive has one newer than $(root_release "$root")"
	elif [[ $release != "$(root_release "$root")" ]]; then
		say "kernel newest: now $release instead of $(root_release "$root")"
		IPTNL_NEWEST=$release
	fi
	[[ -z $release ]] || echo "$IPTNL_NEWEST" >"$CACHE/newest"
}

# Packages of a root: the kernel, the above, and those listed in the file IPTNL_PACKAGES, which has a separate root and
# build.
root_packages() { # KERNEL
	local flavour=amd64
	case $1 in
	arm64) printf '%s\n' "${ARM64_PACKAGES[@]}" && return ;;
	arm64-build) printf '%s\n' "${ARM64_BUILD_PACKAGES[@]}" && return ;;
	*-*) flavour=${1#*-}-amd64 ;;
	esac
	[[ -n $(root_series "$1") ]] || printf '%s\n' "linux-image-$flavour" "linux-headers-$flavour"
	printf '%s\n' "${ROOT_PACKAGES[@]}"
	[[ -z ${IPTNL_PACKAGES:-} ]] || sed 's/#.*//; s/[[:space:]]//g; /^$/d' "$IPTNL_PACKAGES"
}

# Path of the root of KERNEL, which may not exist yet.
root_path() {
	local name hash
	if [[ $1 == other ]]; then
		echo "$OTHER_ROOT"
		return
	fi
	name=$(root_name "$1")
	hash=$({
		printf '%s\n' "$ROOT_RECIPE" "$(root_suite "$name")"
		root_packages "$name"
		[[ $name != newest* ]] || printf '%s' "$IPTNL_NEWEST"
	} | hash_text)
	echo "$CACHE/roots/$name-$hash"
}

# The release of the kernel in a root.
root_release() {
	local dirs=("$1"/usr/lib/modules/*/kernel)
	[[ -d ${dirs[0]} && ${#dirs[@]} == 1 ]] || die "$1 does not hold exactly one kernel"
	basename "$(dirname "${dirs[0]}")"
}

# root_ensure KERNEL : make the root unless it exists.
root_ensure() {
	local dir
	dir=$(root_path "$1")
	[[ -d $dir ]] || with_lock "root-$(basename "$dir")" root_make "$(root_name "$1")" "$dir"
	touch "$dir"
}

root_make() {
	local kernel=$1 dir=$2 start=$SECONDS series add=()
	[[ ! -d $dir ]] || return 0 # another run has made it meanwhile
	series=$(root_series "$kernel")
	[[ -z $series ]] || add=(--customize-hook="'$VM_DIR/add-kernel' \"\$1\" $series")
	say "kernel $kernel: making its root from Debian $(root_suite "$kernel") (once, about a minute)"
	if [[ $kernel == arm64* ]]; then
		arm64_root_make "$kernel" "$dir"
	else
		bootstrap "kernel $kernel" "$(root_suite "$kernel")" "$dir.tmp" --variant=apt \
			--include="$(root_packages "$kernel" | paste -sd ,)" "${add[@]}" \
			--dpkgopt='path-exclude=/usr/share/doc/*' --dpkgopt='path-exclude=/usr/share/man/*' \
			--dpkgopt='path-exclude=/usr/share/locale/*' --dpkgopt='force-unsafe-io'
		mkdir -p "$dir.tmp/usr/lib/modules/$(root_release "$dir.tmp")/updates" # to mount on
	fi
	mv "$dir.tmp" "$dir"
	# Exactly a hash: not 6.12-rt for 6.12, and none that is being made, which may look old.
	forget "roots/$kernel-????????????" 14
	say "kernel $kernel: root ready$([[ $kernel == arm64-build ]] || echo ", $(root_release "$dir")"), $((SECONDS - start)) s"
}

# bootstrap WHAT SUITE DIR MMDEBSTRAP-OPTION... : a directory of Debian packages; a suite named *-backports is
# its base suite with backports preferred.
bootstrap() {
	local what=$1 suite=$2 dir=$3 base=${2%-backports} log
	shift 3
	need_root
	need_tools mmdebstrap
	log=${dir%.tmp}.log
	mkdir -p "$(dirname "$dir")"
	rm -rf --one-file-system "$dir"
	if [[ $suite != "$base" ]]; then
		set -- "$@" --aptopt="APT::Default-Release \"$suite\"" \
			--setup-hook="sed -n 's/ $base / $suite /p' \"\$1/etc/apt/sources.list\" | head -n1 >\"\$1/etc/apt/sources.list.d/$suite.list\""
	fi
	# INITRD=No: the VM uses its own initramfs.
	if ! INITRD=No mmdebstrap --mode=root "$@" "$base" "$dir" </dev/null 2>&1 | tee "$log" | stages "$what"; then
		tail -n 15 "$log" >&2
		rm -rf --one-file-system "$dir"
		die "$what: mmdebstrap failed (log: $log)"
	fi
	chmod 755 "$dir"
}

# Print only the stages of mmdebstrap ("I: installing essential packages...").
stages() {
	local line
	while IFS= read -r line; do
		case $line in
		'I: running '*) ;;
		'I: '*) say "$1:   ${line#I: }" ;;
		esac
	done
}
