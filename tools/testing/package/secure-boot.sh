#!/usr/bin/env bash
# SPDX-License-Identifier: GPL-2.0-only
#
# Test Secure Boot with modules signed by DKMS. Sourced by check-package; the package is installed in COPY.
#
#   enforced  the distribution's kernel with module.sig_enforce=1 refuses modules that are unsigned, signed with an
#             unknown key, or signed by DKMS while its key is not enrolled
#   enrolled  the same, in a VM with UEFI firmware and Secure Boot on: DKMS's certificate is in db, its module loads
#   lockdown  without the option, locked down by Secure Boot: the certificate is in MokListRT, where shim puts the keys
#             enrolled with mokutil
#
# The kernel is started by the firmware, which verifies the distribution's signature on it: its certificate is in db.
#
# Sourced.

[[ -n ${IPTNL_SECURE_BOOT:-} ]] && return
readonly IPTNL_SECURE_BOOT=1
# shellcheck source=tools/testing/package/lib.sh
source "$(dirname "${BASH_SOURCE[0]}")/lib.sh"

UEFI_TEMPLATE=/usr/share/OVMF/OVMF_VARS_4M.fd # of the package ovmf: an empty variable store
SAMPLES=/srv/iptnl-modules                    # in COPY

# One module three times: signed by DKMS, unsigned, and signed with an unknown key
signed_samples() {
	local dir=$COPY$SAMPLES file
	mkdir -p "$dir"/{dkms,unsigned,stranger}
	file=$COPY$(module_file "$RELEASE" tunnel4)
	case $file in
	*.xz) xz -dc "$file" >"$dir/dkms/tunnel4.ko" ;;
	*) cp "$file" "$dir/dkms/tunnel4.ko" ;;
	esac
	"$PACKAGE_DIR/module-signature" "$dir/dkms/tunnel4.ko" "$dir/unsigned/tunnel4.ko"
	cp "$dir/unsigned/tunnel4.ko" "$dir/stranger/"
	in_copy "/lib/modules/$RELEASE/build/scripts/sign-file" sha256 /mnt/share/stranger.key /mnt/share/stranger.der \
		"$SAMPLES/stranger/tunnel4.ko"
}

secure_boot() {
	local mok=$COPY/var/lib/dkms/mok.pub firmware
	signed_samples
	firmware=("$PACKAGE_DIR/uefi-variables" --pk "$WORK/share/stranger.der" --db-signers "$COPY/boot/vmlinuz-$RELEASE")
	vm enforced "$RELEASE" --append module.sig_enforce=1 -- tools/testing/package/guest-signatures enforced "$SAMPLES"
	"${firmware[@]}" --db "$mok" "$UEFI_TEMPLATE" "$WORK/enrolled.fd"
	vm enrolled "$RELEASE" --secure-boot "$WORK/enrolled.fd" --append module.sig_enforce=1 -- \
		tools/testing/package/guest-signatures enrolled "$SAMPLES"
	"${firmware[@]}" --mok "$mok" "$UEFI_TEMPLATE" "$WORK/lockdown.fd"
	vm lockdown "$RELEASE" --secure-boot "$WORK/lockdown.fd" -- tools/testing/package/guest-signatures lockdown "$SAMPLES"
	rm -r "${COPY:?}$SAMPLES"
}
