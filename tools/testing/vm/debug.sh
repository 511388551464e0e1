#!/usr/bin/env bash
# SPDX-License-Identifier: GPL-2.0-only
#
# What the debug kernels are made of, and where they are; debug-kernel makes them. Sourced.

[[ -n ${IPTNL_DEBUG:-} ]] && return
readonly IPTNL_DEBUG=1
# shellcheck source=tools/testing/vm/source.sh
source "$(dirname "${BASH_SOURCE[0]}")/source.sh"

readonly DEBUG_RECIPE=2         # increment when debug kernels are built differently
export DEBUG_MOUNT=/mnt/debug   # where the root sees one

# The fragments of the configuration, files in config/. After each follows FRAGMENT-SERIES, if there is one.
debug_fragments() { # KERNEL
	local fragment series variants
	case $1 in
	debug-rt*) variants=(checks locking rt) ;;
	debug*) variants=(checks locking kasan) ;;
	kcsan) variants=(checks kcsan) ;;
	gcov) variants=(gcov) ;;
	esac
	series=$(root_name "$1")
	for fragment in base "${variants[@]}"; do
		echo "$VM_DIR/config/$fragment.config"
		compgen -G "$VM_DIR/config/$fragment-$series.config" || true
	done
}

# Arguments of make for the kernel. Of all data races, those between the modules and the network stack are of interest:
# KCSAN instruments nothing else, except locks and RCU, whose barriers it must see.
debug_make_arguments() { # KERNEL
	# shellcheck disable=SC2016
	[[ $1 != kcsan ]] || echo 'KCSAN_SANITIZE=$(if $(filter net/% drivers/net/% kernel/locking/% kernel/rcu/%,$(obj)/),y,n)'
}

# Arguments of make for the modules: they are instrumented, most of the kernel is not.
debug_module_arguments() { # KERNEL
	case $1 in
	gcov) echo GCOV_PROFILE=y ;;
	*) echo KCOV_INSTRUMENT=y ;;
	esac
}

# Holds build/ (the configured and built source), bzImage and modules/usr/lib/modules/RELEASE.
debug_path() { # KERNEL
	local hash
	hash=$({
		echo "$DEBUG_RECIPE"
		basename "$(source_path "$1")"
		debug_make_arguments "$1"
		debug_fragments "$1" | xargs cat
	} | hash_text)
	echo "$CACHE/debug/$1-$hash"
}

debug_release() { # KERNEL
	cat "$(debug_path "$1")/build/include/config/kernel.release" 2>/dev/null ||
		die "no kernel $1 yet: 'make debug-kernel KERNELS=$1' builds it (15 minutes)"
}
