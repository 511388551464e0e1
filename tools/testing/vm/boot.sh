#!/usr/bin/env bash
# SPDX-License-Identifier: GPL-2.0-only
#
# Everything needed to start QEMU: kernel image, initramfs, accelerator, command line.
# Sourced.

[[ -n ${IPTNL_BOOT:-} ]] && return
readonly IPTNL_BOOT=1
# shellcheck source=tools/testing/vm/layer.sh
source "$(dirname "${BASH_SOURCE[0]}")/layer.sh"

# Modules that the initramfs loads to mount the root and the shares.
INITRAMFS_MODULES=(virtio_pci 9pnet_virtio 9p overlay virtio_console)
UEFI_FIRMWARE=/usr/share/OVMF/OVMF_CODE_4M.secboot.fd # of the package ovmf
APPEND=${APPEND:-}

kernel_image() {
	if is_debug "$1"; then
		echo "$(debug_path "$1")/bzImage"
	else
		echo "$(root_path "$1")/boot/vmlinuz-$(kernel_release "$1")"
	fi
}

initramfs_path() {
	local hash
	hash=$({
		sha256sum <"$(kernel_image "$1")"
		cat "$VM_DIR/initramfs-init"
		printf '%s\n' "${INITRAMFS_MODULES[@]}"
	} | hash_text)
	echo "$CACHE/initramfs/$1-$hash.cpio"
}

initramfs_ensure() {
	local file
	file=$(initramfs_path "$1")
	[[ -f $file ]] || with_lock "initramfs-$1" initramfs_make "$1" "$file"
}

initramfs_make() {
	local kernel=$1 file=$2 dir
	[[ ! -f $file ]] || return 0
	mkdir -p "$CACHE/initramfs"
	dir=$(mktemp -d "$CACHE/initramfs/tmp.XXXXXX")
	mkdir -p "$dir"/{bin,dev,proc,sys,lower,modules}
	cp "$(root_path "$kernel")/bin/busybox" "$dir/bin/busybox"
	cp "$VM_DIR/initramfs-init" "$dir/init"
	mknod -m 600 "$dir/dev/console" c 5 1
	is_debug "$kernel" || initramfs_modules "$kernel" "$(kernel_release "$kernel")" "$dir/modules"
	(cd "$dir" && find . | cpio -o -H newc --quiet) >"$file.tmp"
	rm -rf "$dir"
	mv "$file.tmp" "$file"
	forget 'initramfs/*' 14
}

# Copy the modules in loading order: 01-virtio.ko, 02-virtio_ring.ko, ...; unpacked, since insmod reads plain ones.
initramfs_modules() {
	local root release=$2 to=$3 m path n=10
	root=$(root_path "$1")
	# shellcheck disable=SC2016 # for the shell in the root
	while read -r path; do
		n=$((n + 1))
		m=$to/$n-$(basename "$path")
		case $path in
		*.xz) xz -dc "$root$path" >"${m%.xz}" ;;
		*.zst) zstd -dcq "$root$path" >"${m%.zst}" ;;
		*) cp "$root$path" "$m" ;;
		esac
	done < <("$VM_DIR/in-root" "$(build_root "$1")" -b "$root/usr/lib/modules:/mnt/root/usr/lib/modules" -- \
		sh -c 'ln -s usr/lib /mnt/root/lib
			release=$1
			shift
			for m; do modprobe -d /mnt/root -S "$release" --show-depends "$m"; done' - "$release" "${INITRAMFS_MODULES[@]}" |
		sed -n 's,^insmod /mnt/root\([^ ]*\).*,\1,p' | awk '!seen[$0]++')
}

# ---- accelerator: KVM only if a test boot succeeds (a kernel may hang although /dev/kvm can be opened)

accelerator() {
	local file
	case ${IPTNL_KVM:-} in
	1) echo kvm && return ;;
	0) echo tcg && return ;;
	esac
	if [[ ! -w /dev/kvm ]]; then
		echo tcg
		return
	fi
	file=$CACHE/kvm-$({ uname -r; grep -m1 'model name' /proc/cpuinfo; qemu-system-x86_64 --version; } | hash_text)
	[[ -s $file ]] || with_lock kvm kvm_probe "$1" "$file"
	cat "$file"
}

kvm_probe() {
	local verdict=tcg
	[[ ! -s $2 ]] || return 0
	say "finding out once whether KVM works here (at most 15 s)"
	if timeout 15 qemu-system-x86_64 -accel kvm -cpu host -m 512 -nodefaults -display none -no-reboot \
		-serial stdio -kernel "$(kernel_image "$1")" -initrd "$(initramfs_path "$1")" \
		-append 'console=ttyS0 panic=-1 iptnl.probe' </dev/null 2>/dev/null | grep -q 'iptnl probe: alive'; then
		verdict=kvm
	fi
	say "KVM $([[ $verdict == kvm ]] && echo works || echo 'does not work: using software emulation')"
	echo "$verdict" >"$2"
}

# ---- the command line

share() { # TAG DIR on|off
	QEMU+=(-virtfs "local,path=$2,mount_tag=$1,security_model=none,multidevs=remap,readonly=$3")
}

port() { # NAME PIPE
	QEMU+=(-chardev "file,id=$1,path=$2" -device "virtserialport,chardev=$1,name=$1")
}

# qemu_command KERNEL RUN-DIR MEMORY LAYER-OR-EMPTY : sets the array QEMU; RUN-DIR has share/, tree/, stdout, stderr.
qemu_command() {
	local kernel=$1 dir=$2 memory=$3 layer=$4 accel cpu=max cpus=${IPTNL_CPUS:-2} lower=root
	if [[ -n ${ICOUNT:-} ]]; then
		accel=tcg,thread=single cpus=1
	elif [[ $kernel == arm64 ]]; then
		accel=tcg,thread=multi
	else
		accel=$(accelerator "$kernel")
		if [[ $accel == kvm ]]; then cpu=host; else accel=tcg,thread=multi; fi
	fi
	if [[ -n ${POSSIBLE:-} ]]; then
		# They must be present, otherwise kernels since 6.9 do not count them, but are never started.
		((POSSIBLE >= cpus)) || die "--possible-cpus $POSSIBLE: fewer than the $cpus in use"
		APPEND+=" maxcpus=$cpus"
		cpus=$POSSIBLE
	fi
	QEMU=(qemu-system-x86_64 -cpu "$cpu")
	[[ $kernel != arm64 ]] || QEMU=("${ARM64_QEMU[@]}")
	QEMU+=(-accel "$accel" -smp "$cpus" -m "$memory" -nodefaults -display none -no-reboot)
	[[ -z ${ICOUNT:-} ]] || QEMU+=(-icount "shift=0,sleep=off,align=off")
	share root "$(root_path "$kernel")" on
	if is_debug "$kernel"; then
		share kmods "$(debug_path "$kernel")/modules" on
		lower=kmods,$lower
	fi
	if [[ -n $layer ]]; then
		share layer "$layer" on
		lower=layer,$lower
	fi
	share tree "$dir/tree" on
	share job "$dir/share" off
	QEMU+=(-serial "file:$dir/kernel.log")
	if [[ -f $dir/share/job/shell ]]; then
		QEMU+=(-chardev "stdio,id=tty,signal=off" -serial chardev:tty)
	else
		QEMU+=(-device virtio-serial-pci)
		port stdout "$dir/stdout"
		port stderr "$dir/stderr"
	fi
	[[ ! -f $dir/uefi-variables ]] || secure_boot "$dir/uefi-variables"
	QEMU+=(-kernel "$(kernel_image "$kernel")" -initrd "$(initramfs_path "$kernel")"
		-append "$(kernel_options "$kernel") $APPEND iptnl.lower=$lower ")
}

# UEFI firmware with these variables. It enforces Secure Boot if they include a platform key. The flash must then
# only be writable in system management mode, which needs this machine type.
secure_boot() {
	QEMU+=(-machine "q35,smm=on" -global "driver=cfi.pflash01,property=secure,value=on"
		-drive "if=pflash,unit=0,format=raw,readonly=on,file=$UEFI_FIRMWARE"
		-drive "if=pflash,unit=1,format=raw,file=$1")
}

# A panic ends QEMU (panic=-1 with -no-reboot), the log is complete, and the watchdogs and the timer check tolerate
# emulated CPUs on a busy machine.
kernel_options() {
	case $1 in
	arm64) echo -n 'console=ttyAMA0 ' ;;
	*) echo -n 'console=ttyS0 ' ;;
	esac
	# With KASAN and kmemleak, ACPI takes half a minute for each device's interrupt, and gives up.
	! is_debug "$1" || echo -n 'pci=noacpi '
	echo 'ignore_loglevel log_buf_len=8M panic=-1 oops=panic mitigations=off audit=0 init_on_alloc=0 no5lvl' \
		'tsc=reliable norandmaps no_timer_check watchdog_thresh=60 rcupdate.rcu_cpu_stall_timeout=180' \
		'sysctl.kernel.hung_task_timeout_secs=300'
}
