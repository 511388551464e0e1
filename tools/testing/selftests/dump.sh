#!/bin/bash
# SPDX-License-Identifier: GPL-2.0
#
# Each command of dump.commands prints, and exits with, exactly what it did on
# the in-tree drivers of the same kernel series; where that was a message on
# standard error, there must be a message. Recorded in expected/SERIES/dump.txt;
# a series without a recording is compared with the one before it.
#
#	dump.sh --record DIR	write DIR/SERIES/dump.txt instead (in-tree modules)
#
#	one namespace per group
#	  v0 192.0.2.1/24 ------------ v1      (mtu 1500)

. "$(dirname "$0")/lib.sh"

GROUP=0
defer modprobe -a ipip ip_gre

# new_group TITLE
new_group()
{
	[ $GROUP -eq 0 ] || del_ns "d$GROUP"
	GROUP=$((GROUP + 1))
	[ "$VERBOSE" != 1 ] || diag "$1" >&2
	new_ns "d$GROUP"
	"d$GROUP" ip link add v0 address 02:00:00:00:00:01 type veth \
		peer name v1 address 02:00:00:00:00:02
	"d$GROUP" ip addr add 192.0.2.1/24 dev v0
	"d$GROUP" ip link set v0 up
	"d$GROUP" ip link set v1 up
}

# Numbers of devices depend on what else was made before.
normalise()
{
	sed -E -e 's/^[0-9]+: /N: /' -e 's/"ifindex":[0-9]+/"ifindex":N/g' \
		-e 's/\blink=[1-9][0-9]*/link=N/'
}

# recording: the file of this series, or else of the newest series before it
recording()
{
	local series
	for series in $(cd "$HERE/expected" && printf '%s\n' [0-9]* | sort -rV); do
		if ! series_before "$SERIES" "$series"; then
			echo "expected/$series/dump.txt"
			return
		fi
	done
}

# errno_of COMMAND...: of "EINVAL: in words" only the name
errno_of()
{
	local text status=0
	text=$("$@") || status=$?
	[ -z "$text" ] || echo "${text%%:*}"
	return "$status"
}

# one COMMAND: its output as it is kept
one()
{
	local rc=0
	NUMBER=$((NUMBER + 1))
	printf '$ %s\n' "$1"
	(
		in=d$GROUP
		ip() { in_ns "$in" ip "$@"; }
		sysctl() { in_ns "$in" sysctl "$@"; }
		raw_ioctl() { tunctl "$in" "$@"; }
		raw_link() { errno_of nl "$in" "$@"; }
		eval "$1"
	) 2>"$TMP/stderr.$NUMBER" </dev/null || rc=$?
	[ ! -s "$TMP/stderr.$NUMBER" ] || echo "(message)"
	echo "(exit $rc)"
}

# commands: do them all, with each group's set-up
commands()
{
	local line
	NUMBER=0
	while read -r line <&3; do
		case $line in
		'' | '#'*) ;;
		'=='*) new_group "$line" ;;
		*) one "$line" ;;
		esac
	done 3<"$HERE/dump.commands"
}

# blocks ARRAY <FILE: each command with its output becomes an element
blocks()
{
	local -n to=$1
	local line i=0
	while IFS= read -r line; do
		[[ $line != '$ '* ]] || i=$((i + 1))
		to[i]+=$line$'\n'
	done
}

compare()
{
	local i command
	local -a want=() got=()
	blocks want <"$HERE/$RECORDING"
	blocks got <"$TMP/got"
	for i in "${!got[@]}"; do
		command=${got[i]%%$'\n'*}
		if [ "${want[i]-}" = "${got[i]}" ]; then
			ok "${command#\$ }"
		elif [ "${want[i]%%$'\n'*}" = "$command" ]; then
			not_ok "${command#\$ }" \
				"$(diff -U9 <(echo "${want[i]}") \
				<(echo "${got[i]}") | tail -n +4 || :)" \
				"$(cat "$TMP/stderr.$i")"
		else
			not_ok "${command#\$ }" "is not the next one in" \
				"$RECORDING: record again"
		fi
	done
	expect_eq "as many commands as were recorded" ${#want[@]} ${#got[@]}
}

# Other tunnel drivers' devices would be in the lists.
for module in sit ip_vti; do
	remove_module $module
done
remove_modules
modprobe ipip
modprobe ip_gre
need_modules

RECORDING=$(recording)
if [ -z "$RECORDING" ]; then
	not_ok "there is a recording for $SERIES or a series before it"
	finish
fi
commands >"$TMP/raw"
normalise <"$TMP/raw" >"$TMP/got"
if [ "${1:-}" = --record ]; then
	mkdir -p "$2/$SERIES"
	cp "$TMP/got" "$2/$SERIES/dump.txt"
	ok "recorded $NUMBER commands"
else
	diag "compared with $RECORDING"
	compare
fi
finish
