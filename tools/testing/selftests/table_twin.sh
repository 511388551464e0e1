#!/bin/bash
# SPDX-License-Identifier: GPL-2.0
#
# The lookup table against a naive twin, a million random operations, in the
# kernel: the module ip_tnl_table_test (tools/testing/kernel) has a copy of the
# table inside, runs when it is loaded, and reports in the kernel log. Then the
# same with a twin that is wrong in one rule, which must be found out.
#
#	TWIN_SEED=N		the random numbers of an earlier run
#	TWIN_OPERATIONS=N	default 1000000, fewer on a slow kernel
#
# The readers need two processors to disturb the writer in earnest.

. "$(dirname "$0")/lib.sh"

MODULE=ip_tnl_table_test
BUILT=$HERE/../kernel/$MODULE.ko
SEED=${TWIN_SEED:-0}
OPERATIONS=${TWIN_OPERATIONS:-$((1000000 / (SLOW * SLOW)))}
# Enough for each wrong rule to matter, and it ends when one did.
FEW=20000
WRONG="link filter specific order oldest newest key wildcard down group
	external duplicate gap"

# load PARAMETER...: run it; the module's KTAP is then in $TMP/ktap
load()
{
	if modinfo "$MODULE" >/dev/null 2>&1; then
		modprobe "$MODULE" "$@" || return 1
	elif [ "$(modinfo -F vermagic "$BUILT" 2>/dev/null | cut -d' ' -f1)" \
	     = "$(uname -r)" ]; then
		insmod "$BUILT" "$@" || return 1
	else
		echo "no module $MODULE for this kernel: 'make test-module'" \
			"in the project's directory builds it"
		return 1
	fi
	dmesg | sed -n "s/^.*$MODULE: //p" |
		awk '/^KTAP version/ { n = 0 } { line[n++] = $0 }
			END { for (i = 0; i < n; i++) print line[i] }' >"$TMP/ktap"
	rmmod "$MODULE"
}

# The module's results become ours; what it says of one comes before it.
report()
{
	local line said=""
	while IFS= read -r line; do
		case $line in
		"ok "*) ok "${line#ok * }" ;;
		"not ok "*) not_ok "${line#not ok * }" "$said" ;;
		"# "*) said+=${said:+$'\n'}${line#\# }; diag "${line#\# }"; continue ;;
		esac
		said=""
	done <"$TMP/ktap"
}

# What the module planned is what it did.
complete()
{
	local plan
	plan=$(sed -n 's/^1\.\.//p' "$TMP/ktap")
	[ "$plan" = "$(grep -cE '^(not )?ok ' "$TMP/ktap")" ]
}

found_out()
{
	load operations="$FEW" seed="$SEED" wrong="$1" || return 1
	if ! grep '^not ok' "$TMP/ktap"; then
		cat "$TMP/ktap"
		return 1
	fi
}

if [ "$IPTNL_IN_TREE" = 1 ]; then
	differs "there is no such table" not_ok "the table and its twin"
	finish
fi

if ! load operations="$OPERATIONS" seed="$SEED" >"$TMP/out" 2>&1; then
	not_ok "the table and its twin" "$(cat "$TMP/out")"
	finish
fi
report
check "it ran to its end" complete
for rule in $WRONG; do
	check "a twin with a wrong rule is found out: $rule" found_out "$rule"
done
check_fails "unloaded" is_loaded "$MODULE"
finish
