#!/usr/bin/env bash
# SPDX-License-Identifier: GPL-2.0-only
#
# Layers: the modules for a kernel, as an overlay of its root.
#
#   work tree --rsync--> cache/build/KERNEL-TREE --make, in the root--> *.ko --depmod--> cache/layers/KERNEL-HASH
#
# The index (modules.dep, ...) is made from root and layer together, so "modprobe ipip" in the guest finds the modules
# in updates/, as after a DKMS install. A layer is named after its contents and never changes, so a concurrent build
# does not disturb runs that use it. Sourced.

[[ -n ${IPTNL_LAYER:-} ]] && return
readonly IPTNL_LAYER=1
# shellcheck source=tools/testing/vm/root.sh
source "$(dirname "${BASH_SOURCE[0]}")/root.sh"
# shellcheck source=tools/testing/vm/debug.sh
source "$VM_DIR/debug.sh"

BUILD_TREE=$TREE # whose modules are built
readonly LAYER_RECIPE=3 # increment when layers are made differently

# Build products: neither copied from the work tree nor deleted from the copy.
BUILD_PRODUCTS=('*.o' '*.ko' '*.mod' '*.mod.c' '*.gcno' '*.a' '.*.cmd' '.*.d' '*.symvers' 'modules.order' '.tmp_*')

rsync_filters() {
	printf -- '--exclude=%s\n' .git "${BUILD_PRODUCTS[@]}"
}

# snapshot TREE DIR : copy a work tree; times of files only change with their contents, for make.
snapshot() {
	local filters
	mapfile -t filters < <(rsync_filters)
	mkdir -p "$2"
	rsync -rlp --checksum --delete "${filters[@]}" "$1/" "$2/"
}

kernel_release() {
	if is_debug "$1"; then
		debug_release "$1"
	elif [[ $1 == other ]]; then
		echo "$OTHER_RELEASE"
	else
		root_release "$(root_path "$1")"
	fi
}

# The kernel's build directory, as seen inside the root.
kernel_kdir() {
	if is_debug "$1"; then
		echo "$DEBUG_MOUNT/build"
	elif [[ $1 == arm64 ]]; then
		arm64_kdir
	else
		echo "/lib/modules/$(kernel_release "$1")/build"
	fi
}

# The directory on the host that contains usr/lib/modules/RELEASE/kernel.
kernel_modules() {
	if is_debug "$1"; then echo "$(debug_path "$1")/modules"; else root_path "$1"; fi
}

# The root where the modules of a kernel are built.
build_root() {
	if [[ $1 == arm64 ]]; then root_path arm64-build; else root_path "$1"; fi
}

# Depends on the work tree, on BUILD_VARIANT, and on whether the root has additional packages.
build_path() {
	echo "$CACHE/build/$1${BUILD_VARIANT:-}${IPTNL_PACKAGES:+-packages}-$(hash_text <<<"$BUILD_TREE")"
}

# in_build KERNEL COMMAND... : run in the kernel's root, with the copy of the tree as /mnt/iptnl.
in_build() {
	local kernel=$1 binds=()
	shift
	binds=(-b "$(build_path "$kernel"):/mnt/iptnl")
	! is_debug "$kernel" || binds+=(-b "$(debug_path "$kernel"):$DEBUG_MOUNT")
	"$VM_DIR/in-root" "$(build_root "$kernel")" "${binds[@]}" -- "$@"
}

# build_modules KERNEL MAKE-ARGUMENT... : copy the tree and build; make's warnings reach the terminal.
build_modules() {
	local kernel=$1 copy headers
	shift
	copy=$(build_path "$kernel")
	[[ -f $BUILD_TREE/Kbuild ]] || die "$BUILD_TREE has no Kbuild: nothing to build"
	snapshot "$BUILD_TREE" "$copy" || die "could not copy $BUILD_TREE to $copy"
	# Dependencies do not show that a new or deleted header changes which file an #include finds.
	headers=$(cd "$copy" && find . -name '*.h' ! -name '.*' | sort | hash_text)
	if [[ $headers != "$(cat "$copy.headers" 2>/dev/null)" ]]; then
		make_in_build "$kernel" clean >/dev/null
		echo "$headers" >"$copy.headers"
	fi
	make_in_build "$kernel" "$@" 1>&2
}

make_in_build() {
	local arguments=()
	[[ $1 != arm64 ]] || arguments=("${ARM64_MAKE[@]}")
	! is_debug "$1" || mapfile -t arguments < <(debug_module_arguments "$1")
	in_build "$1" make -s -C /mnt/iptnl -j"$(nproc)" KDIR="$(kernel_kdir "$1")" "${arguments[@]}" "${@:2}"
}

# without_debug KERNEL FROM TO : strip of the host only supports the host's architecture.
without_debug() {
	if [[ $1 == arm64 ]]; then cp "$2" "$3"; else strip --strip-debug -o "$3" "$2"; fi
}

# Files of the modules and test modules of a built tree, relative to it. SORT "tests": only test modules, for --in-tree.
built_modules() { # TREE SORT
	[[ $2 == tests ]] || sed 's/\.o$/.ko/; s|.*/||' "$1/modules.order"
	sed 's/\.o$/.ko/; s|.*/||; s|^|tools/testing/kernel/|' "$1/tools/testing/kernel/modules.order"
}

# layer_notes TREE LAYER : the compiler's notes and the sources, in the directory where the modules were built: gcov in the
# guest looks there.
layer_notes() {
	mkdir -p "$2/mnt"
	rsync -rm --include='*/' --include='*.gcno' --include='*.[ch]' --exclude='*' "$1/" "$2/mnt/iptnl/"
}

# layer_make KERNEL [SORT] : build and make the layer; its path is written to $(build_path).SORT.
layer_make() {
	local kernel=$1 sort=${2:-layer} copy release hash dir tmp ko targets=(modules test-module)
	copy=$(build_path "$kernel")
	release=$(kernel_release "$kernel")
	say "kernel $kernel: building the modules for $release"
	rm -f "$copy.$sort"
	[[ $sort != tests ]] || targets=(test-module)
	build_modules "$kernel" "${targets[@]}" || die "kernel $kernel: the modules do not build"
	hash=$({ echo "$LAYER_RECIPE"; kernel_modules "$kernel"; cd "$copy" && built_modules . "$sort" | xargs cat; } | hash_text)
	dir=$CACHE/layers/$kernel-$hash
	if [[ ! -d $dir ]]; then
		tmp=$dir.tmp
		rm -rf "$tmp"
		mkdir -p "$tmp/usr/lib/modules/$release/updates"
		while IFS= read -r ko; do
			without_debug "$kernel" "$copy/$ko" "$tmp/usr/lib/modules/$release/updates/${ko##*/}"
		done < <(built_modules "$copy" "$sort")
		[[ $kernel != gcov ]] || layer_notes "$copy" "$tmp"
		layer_index "$kernel" "$release" "$tmp"
		mv "$tmp" "$dir"
		forget 'layers/*' 2
	fi
	touch "$dir"
	echo "$dir" >"$copy.$sort"
}

# Run depmod on the kernel's modules together with the layer's updates/; the index goes into the layer.
layer_index() {
	local kernel=$1 release=$2 layer=$3 modules view=/mnt/view/usr/lib/modules/$2
	modules=$(kernel_modules "$kernel")/usr/lib/modules/$release
	# shellcheck disable=SC2016
	"$VM_DIR/in-root" "$(build_root "$kernel")" \
		-b "$modules:/mnt/kernel" \
		-b "$modules/kernel:$view/kernel" \
		-b "$layer/usr/lib/modules/$release:/mnt/layer" \
		-b "$layer/usr/lib/modules/$release/updates:$view/updates" -- \
		sh -ec 'cd "$1"
			cp /mnt/kernel/modules.order /mnt/kernel/modules.builtin* .
			ln -s usr/lib /mnt/view/lib
			depmod -b /mnt/view "$2"
			grep -q ^updates/ modules.dep
			cp modules.* /mnt/layer/' - "$view" "$release"
}

layer_ensure() {
	with_lock "build-$(basename "$(build_path "$1")")" layer_make "$@"
}

# The layer of the last build of this tree.
layer_path() {
	cat "$(build_path "$1").${2:-layer}" 2>/dev/null || die "kernel $1: nothing built from this tree yet"
}
