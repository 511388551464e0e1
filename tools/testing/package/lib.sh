#!/usr/bin/env bash
# SPDX-License-Identifier: GPL-2.0-only
#
# Shared by check-package and secure-boot: results, temporary copies of Debian roots, commands and VMs in them.
# Sourced.
#
#   ${XDG_CACHE_HOME:-~/.cache}/iptnl/
#     roots/KERNEL-HASH/  a plain Debian with a kernel and its headers, never modified      (root.sh)
#     package/COPY/       what a test installs into and boots, removed when the test ends

[[ -n ${IPTNL_PACKAGE_LIB:-} ]] && return
readonly IPTNL_PACKAGE_LIB=1
# shellcheck source=tools/testing/vm/boot.sh
source "$(dirname "${BASH_SOURCE[0]}")/../vm/boot.sh"

PACKAGE_DIR=$TREE/tools/testing/package
# What booting needs, besides the kernel and its headers. No compiler: the package must depend on it.
# shellcheck disable=SC2034 # root.sh reads it
ROOT_PACKAGES=(initramfs-tools busybox-static iproute2 iputils-ping kmod mount)

MODULES=(tunnel4 gre ip_tunnel_core ipip ip_gre)
declare -i COUNT=0 PASSED=0 FAILED=0
LABEL='' COPY='' WORK=''

# ---- results

ok() {
	COUNT+=1 PASSED+=1
	echo "ok $LABEL $COUNT $*"
}

# not_ok NAME [DETAIL]... : each DETAIL becomes lines of diagnostics
not_ok() {
	local text
	COUNT+=1 FAILED+=1
	text="not ok $LABEL $COUNT $1"
	shift
	[[ $# == 0 ]] || text+=$'\n'$(printf '%s\n' "$@" | sed 's/^/#   /')
	echo "$text"
}

# expect NAME WANT GOT
expect() {
	if [[ $2 == "$3" ]]; then ok "$1"; else not_ok "$1" "want: $2" "got:  $3"; fi
}

# expect_match NAME REGEX TEXT
expect_match() {
	if [[ $3 =~ $2 ]]; then ok "$1"; else not_ok "$1" "want: /$2/" "got:  $3"; fi
}

# check NAME COMMAND... : COMMAND must succeed; its output is in $WORK/out
check() {
	local name=$1 rc=0
	shift
	"$@" >"$WORK/out" 2>&1 </dev/null || rc=$?
	if ((rc == 0)); then ok "$name"; else not_ok "$name" "exit status $rc: $*" "$(tail -n 40 "$WORK/out")"; fi
	return 0
}

progress() {
	say "$LABEL: $* ($SECONDS s)"
}

# ---- copies

work_begin() {
	mkdir -p "$CACHE/package"
	forget 'package/*' 1
	WORK=$(mktemp -d "$CACHE/package/tmp.XXXXXX")
	COPY=$WORK/root
	mkdir "$WORK/share" "$WORK/running"
	# An unknown key
	openssl req -new -x509 -nodes -days 2 -subj '/CN=stranger/' -newkey rsa:2048 -keyout "$WORK/share/stranger.key" \
		-outform DER -out "$WORK/share/stranger.der" 2>/dev/null
}

work_end() {
	[[ -z $WORK ]] || rm -rf --one-file-system "$WORK"
	WORK=
}

# copy_root KERNEL : make COPY a copy of the plain root, as on a machine that runs this kernel.
copy_root() {
	local from
	rm -rf --one-file-system "$COPY"
	root_ensure "$1"
	from=$(root_path "$1")
	cp -a --reflink=auto "$from" "$COPY"
	rmdir "$COPY"/usr/lib/modules/*/updates # root.sh makes it to mount on
	RELEASE=$(root_release "$COPY")
	# DKMS builds for the running kernel, so uname must print this one.
	# shellcheck disable=SC2016
	printf '#!/bin/sh\n[ "$*" = -r ] || exec /bin/uname "$@"\necho %s\n' "$RELEASE" >"$WORK/running/uname"
	chmod +x "$WORK/running/uname"
	in_copy apt-get -q update >"$WORK/out" 2>&1 || {
		cat "$WORK/out" >&2
		die "$LABEL: apt-get update failed"
	}
}

# in_copy COMMAND... : run in COPY, with $WORK/share as /mnt/share. No initramfs is made, since the VM uses its own.
in_copy() {
	"$VM_DIR/in-root" "$COPY" -w -b "$WORK/share:/mnt/share" -b "$WORK/running:/mnt/running" -- \
		env DEBIAN_FRONTEND=noninteractive INITRD=No PATH=/mnt/running:/usr/sbin:/usr/bin:/sbin:/bin "$@" </dev/null
}

apt() { # COMMAND ARGUMENT...
	in_copy apt-get -q -y -o DPkg::Path=/mnt/running:/usr/sbin:/usr/bin:/sbin:/bin -o Dpkg::Use-Pty=0 \
		-o APT::Sandbox::User=root "$@"
}

# ---- VMs

# vm NAME RELEASE [OPTION-OF-RUN...] -- COMMAND... : boot COPY, and add the results of COMMAND.
vm() {
	local name=$1 release=$2 line rc=0 seen=0 bad=0
	shift 2
	progress "booting $release: $name"
	"$VM_DIR/run" -q --root "$COPY" --release "$release" -t 300 "$@" >"$WORK/results" 2>"$WORK/errors" </dev/null || rc=$?
	while IFS= read -r line; do
		case $line in
		'ok '*) seen=1 && ok "$name: ${line#ok }" ;;
		'not ok '*) bad=1 && not_ok "$name: ${line#not ok }" ;;
		*) echo "$line" ;;
		esac
	done <"$WORK/results"
	if ((rc && !(rc == 1 && bad) || !seen)); then
		not_ok "$name: the VM" "exit status $rc of run" "$(tail -n 40 "$WORK/errors")"
	fi
}

# ---- modules

# installed_modules RELEASE : sorted names of the modules installed by DKMS
installed_modules() {
	local dir=$COPY/usr/lib/modules/$1/updates/dkms
	[[ ! -d $dir ]] || find "$dir" -type f -printf '%f\n' | sed 's/\.ko.*//' | LC_ALL=C sort
}

# module_file RELEASE MODULE : the file that modprobe would load, as a path in COPY
module_file() {
	in_copy modinfo -k "$1" -n "$2" 2>&1
}

# expect_ours RELEASE VERSION : all five are installed, of this version, and modprobe finds them
expect_ours() {
	local release=$1 version=$2 module
	expect "$release: five modules in updates/dkms" "$(printf '%s\n' "${MODULES[@]}" | LC_ALL=C sort)" \
		"$(installed_modules "$release")"
	for module in "${MODULES[@]}"; do
		expect_match "$release: modinfo -n $module" '/updates/dkms/' "$(module_file "$release" "$module")"
		expect "$release: version of $module" "$version" "$(in_copy modinfo -k "$release" -F version "$module" 2>&1)"
	done
}

# expect_signed RELEASE : all are signed with DKMS's key
expect_signed() {
	local release=$1 module file
	for module in "${MODULES[@]}"; do
		expect "$release: modinfo -F signer $module" 'DKMS module signing key' \
			"$(in_copy modinfo -k "$release" -F signer "$module" 2>&1)"
		file=$COPY$(module_file "$release" "$module")
		check "$release: the signature of $module is of DKMS's key" verify "$file" "$COPY/var/lib/dkms/mok.pub"
	done
	if verify "$file" "$WORK/share/stranger.der" >"$WORK/out" 2>&1; then
		not_ok "$release: and of no other key"
	else
		ok "$release: and of no other key"
	fi
}

# verify MODULE CERTIFICATE : verify the signature with this certificate
verify() {
	openssl x509 -inform DER -in "$2" -out "$WORK/certificate" || return 1
	"$PACKAGE_DIR/module-signature" "$1" "$WORK/content" "$WORK/signature" || return 1
	openssl cms -verify -binary -noverify -nointern -inform DER -in "$WORK/signature" -content "$WORK/content" \
		-certfile "$WORK/certificate" -out /dev/null
}
