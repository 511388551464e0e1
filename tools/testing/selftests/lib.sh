#!/bin/bash
# SPDX-License-Identifier: GPL-2.0
#
# What every selftest shares: KTAP output, namespaces, counters, captures,
# raw packets. A test sources this file first and calls "finish" last:
#
#	#!/bin/bash
#	# SPDX-License-Identifier: GPL-2.0
#	#
#	# (topology, drawn)
#	. "$(dirname "$0")/lib.sh"
#	new_ns n0 n1
#	veth_pair n0 v0 192.0.2.1/24 n1 v1 192.0.2.2/24
#	check "ping works" n0 ping -c 1 192.0.2.2
#	finish
#
# A script that ends before "finish", for whatever reason, has failed.
# Knobs of the environment:
#	VERBOSE=1		print each command that runs in a namespace
#	IPTNL_IN_TREE=1		the kernel's own modules are under test
#	IPTNL_SLOW=N		multiply each timeout by N (debug kernels)

set -Eeuo pipefail
export LC_ALL=C
[ -n "${PYTHONPYCACHEPREFIX:-}" ] || export PYTHONDONTWRITEBYTECODE=1

SELF=$(basename "$0" .sh)
HERE=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
# A pid repeats in the next boot or container; a name that is left behind shows.
TAG="iptnl-$$"
TMP=$(mktemp -d "${TMPDIR:-/tmp}/$TAG-$SELF.XXXXXX")
VERBOSE=${VERBOSE:-0}
IPTNL_IN_TREE=${IPTNL_IN_TREE:-0}
SLOW=${IPTNL_SLOW:-1}
# The series whose behaviour is expected, as 6.12. Compare with series_is.
SERIES=$(uname -r | cut -d. -f1,2 | sed 's/[^0-9.].*//')
# What "ip" prints when the kernel gave a reason in words.
# shellcheck disable=SC2034
EXTACK='^Error: .+[^ ]'

declare -i KTAP_COUNT=0 KTAP_FAILED=0 KTAP_SKIPPED=0 KTAP_PLAN=0
KTAP_DONE=0
KTAP_XFAIL=""
declare -a CLEANUP=()

# ---------------------------------------------------------------- KTAP

diag() { printf '# %s\n' "$*"; }

diag_file() { sed 's/^/#   /' "$1"; }

ktap_plan()
{
	KTAP_PLAN=$1
	printf '1..%d\n' "$1"
}

# ok NAME
ok()
{
	KTAP_COUNT+=1
	printf 'ok %d %s\n' "$KTAP_COUNT" "$1"
}

# not_ok NAME [DETAIL]...	each DETAIL becomes lines of diagnostics
not_ok()
{
	local name=$1
	shift
	KTAP_COUNT+=1
	if [ -n "$KTAP_XFAIL" ]; then
		printf 'ok %d %s # XFAIL in-tree: %s\n' \
			"$KTAP_COUNT" "$name" "$KTAP_XFAIL"
		return 0
	fi
	KTAP_FAILED+=1
	printf 'not ok %d %s\n' "$KTAP_COUNT" "$name"
	for detail; do
		printf '%s\n' "$detail" | sed 's/^/#   /'
	done
	return 0
}

# skip NAME REASON	counts against the script: CI must be able to run it all
skip()
{
	KTAP_COUNT+=1
	KTAP_SKIPPED+=1
	printf 'ok %d %s # SKIP %s\n' "$KTAP_COUNT" "$1" "$2"
}

# series_is WORD...	is one of the words true of the running kernel? "all",
# "6.12" (this series), "<7.2", ">=6.12"; series.py has the same for Python.
series_is()
{
	local word
	for word; do
		case $word in
		all | "$SERIES") return 0 ;;
		'<'*) series_before "$SERIES" "${word#<}" && return 0 ;;
		'>='*) series_before "$SERIES" "${word#>=}" || return 0 ;;
		esac
	done
	return 1
}

# series_before ONE OTHER
series_before()
{
	local -i major=${1%%.*} minor=${1#*.} than=${2%%.*}
	((major < than || (major == than && minor < ${2#*.})))
}

# differs [-k "<6.12 7.2"] REASON check|expect_eq|refuse|... ARGS
# The in-tree drivers (of these kernels, see series_is) are known to fail the
# test that follows; ours must pass it.
differs()
{
	local series=all
	if [ "$1" = -k ]; then
		series=$2
		shift 2
	fi
	# shellcheck disable=SC2086
	if [ "$IPTNL_IN_TREE" = 1 ] && series_is $series; then
		KTAP_XFAIL=$1
	fi
	shift
	"$@"
	KTAP_XFAIL=""
}

# check NAME COMMAND...		COMMAND must succeed
check()
{
	local name=$1 rc=0
	shift
	"$@" >"$TMP/out" 2>&1 || rc=$?
	if [ $rc -eq 0 ]; then
		ok "$name"
	else
		not_ok "$name" "exit $rc: $*" "$(tail -n 30 "$TMP/out")"
	fi
}

# check_fails NAME COMMAND...	COMMAND must fail, where there is no message
check_fails()
{
	local name=$1 rc=0
	shift
	"$@" >"$TMP/out" 2>&1 || rc=$?
	if [ $rc -ne 0 ]; then
		ok "$name"
	else
		not_ok "$name" "succeeded: $*" "$(tail -n 30 "$TMP/out")"
	fi
}

# expect_eq NAME WANT GOT
expect_eq()
{
	if [ "$2" = "$3" ]; then
		ok "$1"
	else
		not_ok "$1" "want: $2" "got:  $3"
	fi
}

# expect_match NAME REGEX TEXT
expect_match()
{
	if has_line "$2" /dev/stdin <<<"$3"; then
		ok "$1"
	else
		not_ok "$1" "want: /$2/" "got:  $3"
	fi
}

# links NS [DEV]: the configuration of every device of NS, or of one, to be
# compared before and after; there are no counters in it.
links()
{
	agent links "$(ns "$1")" "${@:2}"
}

# has_line REGEX FILE: as grep -Eq, without a process
has_line()
{
	local line
	while IFS= read -r line || [ -n "$line" ]; do
		[[ ! $line =~ $1 ]] || return 0
	done <"$2"
	return 1
}

# refuse [-n NS [-d DEV]] NAME REGEX COMMAND...
# COMMAND must fail and print a line that matches REGEX; with -n, no device in
# NS (or not DEV) may have changed, appeared or gone.
refuse()
{
	local in="" dev="" before="" after="" rc=0 name regex
	while :; do
		case $1 in
		-n) in=$2; shift 2 ;;
		-d) dev=$2; shift 2 ;;
		*) break ;;
		esac
	done
	name=$1 regex=$2
	shift 2
	[ -z "$in" ] || before=$(links "$in" ${dev:+"$dev"})
	"$@" >"$TMP/out" 2>&1 || rc=$?
	[ -z "$in" ] || after=$(links "$in" ${dev:+"$dev"}) || :
	if [ $rc -eq 0 ]; then
		not_ok "$name" "was accepted: $*" "$(cat "$TMP/out")"
	elif ! has_line "$regex" "$TMP/out"; then
		not_ok "$name" "no message like /$regex/, exit $rc: $*" \
			"$(cat "$TMP/out")"
	elif [ "$before" != "$after" ]; then
		not_ok "$name" "refused, but changed something: $*" \
			"before: ${before//$'\n'/$'\n        '}" \
			"after:  ${after//$'\n'/$'\n        '}"
	else
		ok "$name"
	fi
}

# finish: the last line of each script
finish()
{
	KTAP_DONE=1
	exit 0
}

ktap_abort()
{
	printf '# %s:%s: failed: %s\n' "$(basename "${BASH_SOURCE[1]}")" \
		"${BASH_LINENO[0]}" "$BASH_COMMAND" >&2
}

ktap_exit()
{
	local rc=$?
	trap - ERR EXIT
	set +e
	run_cleanup
	if [ $KTAP_DONE -eq 0 ]; then
		KTAP_XFAIL=""
		not_ok "$SELF ran to its end" "exit status $rc"
	fi
	if [ $KTAP_PLAN -eq 0 ]; then
		printf '1..%d\n' "$KTAP_COUNT"
	elif [ $KTAP_PLAN -ne $KTAP_COUNT ]; then
		diag "planned $KTAP_PLAN, ran $KTAP_COUNT"
		KTAP_FAILED+=1
	fi
	diag "passed $((KTAP_COUNT - KTAP_FAILED - KTAP_SKIPPED))" \
		"failed $KTAP_FAILED skipped $KTAP_SKIPPED"
	rm -rf "$TMP"
	[ $KTAP_FAILED -eq 0 ] || exit 1
	[ $KTAP_SKIPPED -eq 0 ] || exit 4
	[ $KTAP_COUNT -gt 0 ] || exit 1
	exit 0
}

trap ktap_abort ERR
trap ktap_exit EXIT
trap 'exit 130' INT
trap 'exit 143' TERM

# ------------------------------------------------------------- cleanup

# defer COMMAND...	runs at exit, the latest first; failures are ignored
defer()
{
	CLEANUP+=("$(printf '%q ' "$@")")
}

run_cleanup()
{
	local -i i
	for ((i = ${#CLEANUP[@]} - 1; i >= 0; i--)); do
		eval "${CLEANUP[i]}" >/dev/null 2>&1 || :
	done
	CLEANUP=()
}

# --------------------------------------------------------------- agent

# agent OPERATION ARGUMENT...	ask agent.py, which saves starting a python for
# each question. One at a time: not from the background.
agent()
{
	local line words
	printf -v words '%s\x1f' "$@"
	printf '%s\n' "${words//$'\n'/$'\x1d'}" >&7
	while IFS= read -r line <&8; do
		if [ "${line:0:1}" = $'\x1e' ]; then
			return "${line:1}"
		fi
		printf '%s\n' "$line"
	done
	return 1
}

mkfifo "$TMP/requests" "$TMP/replies"
exec 7<>"$TMP/requests" 8<>"$TMP/replies"
python3 -S "$HERE/agent.py" "$TMP/requests" "$TMP/replies" \
	</dev/null >"$TMP/agent" 2>&1 7>&- 8>&- &
defer kill -KILL $!
disown $!

# ------------------------------------------------------------- waiting

# wait_for [-t SECONDS] COMMAND...	poll until COMMAND succeeds; how long is
# only so that a test ends that fails, much more than a busy machine takes, and
# short when the test has failed already
wait_for()
{
	local -i limit=60 end
	if [ "$1" = -t ]; then
		limit=$2
		shift 2
	fi
	[ $KTAP_FAILED -eq 0 ] || [ "$limit" -lt 20 ] || limit=20
	end=$((SECONDS + limit * SLOW))
	until "$@" >/dev/null 2>&1; do
		if [ $SECONDS -ge $end ]; then
			echo "timed out after $((limit * SLOW)) s: $*"
			return 1
		fi
		sleep 0.05
	done
}

# ---------------------------------------------------------- namespaces

# ns NAME: the full name of a namespace
ns() { printf '%s-%s\n' "$TAG" "$1"; }

# in_ns NAME COMMAND...
in_ns()
{
	local name=$1
	shift
	[ "$VERBOSE" != 1 ] || printf '# [%s] %s\n' "$name" "$*" >&2
	case $1 in
	ip)
		shift
		command ip -n "$TAG-$name" "$@"
		;;
	*)
		command ip netns exec "$TAG-$name" "$@"
		;;
	esac
}

# new_ns [-6] NAME...: make namespaces, and a function NAME for each that runs
# its arguments in it. IPv6 is off (it sends unasked) unless -6, and then there
# are no automatic addresses, DAD or router solicitations.
new_ns()
{
	local v6=0 name
	if [ "$1" = -6 ]; then
		v6=1
		shift
	fi
	for name; do
		defer del_ns "$name"
		ip netns add "$(ns "$name")"
		eval "$name() { in_ns $name \"\$@\"; }"
		# shellcheck disable=SC2016
		in_ns "$name" sh -ec '
			cd /proc/sys/net
			for i in all default; do
				echo 0 >ipv4/conf/$i/rp_filter
				[ -d ipv6 ] || continue
				echo 0 >ipv6/conf/$i/accept_dad
				echo 0 >ipv6/conf/$i/router_solicitations
				echo 1 >ipv6/conf/$i/addr_gen_mode
				echo $1 >ipv6/conf/$i/disable_ipv6
			done
			ip link set lo up' sh $((1 - v6))
	done
}

# del_ns NAME: end its processes, then delete it; no error if it is gone
del_ns()
{
	local full pids
	full=$(ns "$1")
	[ -e "/run/netns/$full" ] || return 0
	pids=$(ip netns pids "$full") || :
	# shellcheck disable=SC2086
	[ -z "$pids" ] || kill -KILL $pids 2>/dev/null || :
	ip netns del "$full"
}

# veth_pair NS0 DEV0 ADDR0 NS1 DEV1 ADDR1
# Two namespaces joined by a cable that is up, with fixed MAC addresses and
# permanent neighbours: nothing but the test's own packets runs on it. An
# address of "-" is none.
VETH_SEQ=0
veth_pair()
{
	local m0 m1
	VETH_SEQ=$((VETH_SEQ + 1))
	m0=$(printf '02:00:00:00:%02x:00' $VETH_SEQ)
	m1=$(printf '02:00:00:00:%02x:01' $VETH_SEQ)
	in_ns "$1" ip link add "$2" address "$m0" type veth \
		peer name "$5" address "$m1" netns "$(ns "$4")"
	veth_end "$1" "$2" "$3" "$m1" "$6"
	veth_end "$4" "$5" "$6" "$m0" "$3"
	wait_for is_running "$1" "$2"
	wait_for is_running "$4" "$5"
}

# veth_end NS DEV ADDR PEER_MAC PEER_ADDR
veth_end()
{
	in_ns "$1" ip link set "$2" up
	[ "$3" = - ] || in_ns "$1" ip addr add "$3" dev "$2"
	[ "$5" = - ] || in_ns "$1" ip neigh replace "${5%/*}" lladdr "$4" \
		nud permanent dev "$2"
}

is_running() { agent running "$(ns "$1")" "$2"; }

# mtu_of NS DEV
mtu_of() { agent mtu "$(ns "$1")" "$2"; }

# shows NS DEV REGEX: "ip -d link show" as one line matches
shows()
{
	local text
	text=$(in_ns "$1" ip -d -o link show dev "$2") || return 1
	if [[ ! $text =~ $3 ]]; then
		echo "$text"
		return 1
	fi
}

# lacks NS DEV REGEX: it does not
lacks()
{
	local text
	text=$(in_ns "$1" ip -d -o link show dev "$2") || return 1
	if [[ $text =~ $3 ]]; then
		echo "$text"
		return 1
	fi
}

# Not by "ip link show": asking for tunl0 or gre0 by name loads the module.
has_dev() { agent has "$(ns "$1")" "$2"; }

no_dev() { ! has_dev "$@"; }

# ping_ok NS ARGS...: one echo that must be answered, at the first or (while
# things come up) a later try
ping_ok()
{
	local in=$1
	shift
	wait_for -t 120 in_ns "$in" ping -n -c 1 -W 5 "$@"
}

# ping_fails NS ADDRESS [DEV]: no answer comes, when all is done that the
# request sets off
ping_fails() { agent pkt silent "$(ns "$1")" "${@:2}"; }

# ------------------------------------------------- background processes

# bg NS COMMAND...: start it; $BG is its pid and $BG_OUT the file with its
# output. It dies with the script.
BG=0
BG_OUT=""
bg()
{
	local in=$1
	shift
	BG_OUT=$(mktemp "$TMP/bg.XXXXXX")
	ip netns exec "$(ns "$in")" "$@" >"$BG_OUT" 2>&1 </dev/null &
	BG=$!
	defer kill -KILL "$BG"
}

# bg_stop PID [SIGNAL]: end it and reap it
bg_stop()
{
	kill "-${2:-TERM}" "$1" 2>/dev/null || :
	wait "$1" 2>/dev/null || :
}

# ------------------------------------------------------------- counters

# stat NS DEV FIELD	a counter by its name in sysfs (rx_packets, collisions)
stat()
{
	stats "$1" "$2" | sed -n "s/^$3=//p"
}

# stats NS DEV: all of them, "name=value" by line
stats() { agent stats "$(ns "$1")" "$2"; }

# stats_save NS DEV: remember the counters for expect_stats
stats_save() { agent save "$(ns "$1")" "$2"; }

# stats_delta NS DEV: each counter that moved since stats_save, "name=n"
stats_delta() { agent delta "$(ns "$1")" "$2"; }

# stats_match NS DEV WANT IGNORE: the deltas are the words of WANT, in any
# order; those that match IGNORE do not count
stats_match()
{
	local got=" " item
	for item in $(stats_delta "$1" "$2"); do
		[[ $item =~ $4 ]] || got+="$item "
	done
	for item in $3; do
		[[ $got = *" $item "* ]] || return 1
		got=${got/ $item / }
	done
	[ "$got" = " " ]
}

# expect_stats NAME NS DEV [FIELD=DELTA]...
# Since stats_save, exactly these counters moved, by exactly this much, and no
# other did; rx_bytes and tx_bytes are looked at only when given.
expect_stats()
{
	local name=$1 in=$2 dev=$3 want="" ignore='^$' item patience=60
	shift 3
	for item; do
		[[ $item = *=0 ]] || want+=" $item"
	done
	[[ " $*" = *" rx_bytes="* ]] || ignore+='|^rx_bytes='
	[[ " $*" = *" tx_bytes="* ]] || ignore+='|^tx_bytes='
	# What is known to be different need not be waited for.
	[ -z "$KTAP_XFAIL" ] || patience=1
	if wait_for -t "$patience" stats_match "$in" "$dev" "$want" "$ignore"; then
		ok "$name"
	else
		not_ok "$name" "$dev in $in" "want:$want" \
			"got:  $(stats_delta "$in" "$dev" | xargs)"
	fi
}

# --------------------------------------------------------- raw packets

# inject NS DEV PEER_NS PEER_DEV PACKET...
# Put packets, each an expression of pkt.py, on the wire at DEV, and return
# when PEER_DEV at the other end has worked through all of them.
inject()
{
	[ "$VERBOSE" != 1 ] || printf '# [%s] inject %s\n' "$1" "${*:5}" >&2
	agent pkt send "$(ns "$1")" "$2" "$(ns "$3")" "$4" "${@:5}"
}

# pkt_hex PACKET: the bytes an expression stands for
pkt_hex() { agent pkt hex "$1"; }

# nl NS VERB DEV KIND ATTRIBUTE...	raw rtnetlink, see nl.py
nl()
{
	agent nl "$2" "$(ns "$1")" "${@:3}"
}

# tunctl NS DEV COMMAND FIELD=VALUE...	raw tunnel ioctl, see tunctl.py
tunctl()
{
	agent tunctl "$(ns "$1")" "${@:2}"
}

# ------------------------------------------------------------- refusals
# What a table of refusals asks for is asked of n0; what is new there is "x".

# The drivers before us gave few words, and none through the ioctl.
WORDS=': .+'
[ "$IPTNL_IN_TREE" != 1 ] || WORDS=''

# What was accepted all the same must not be in the way of what follows.
drop_x()
{
	! has_dev n0 x || n0 ip link del x
}

# bad ERRNO NAME VERB DEV KIND ATTRIBUTE...: netlink refuses, with words
bad()
{
	refuse -n n0 "$2: $1" "^($1)$WORDS" nl n0 "${@:3}"
	[ "$3" != new ] || drop_x
}

# mute ERRNO NAME VERB DEV KIND ATTRIBUTE...: words cannot be had
mute()
{
	refuse -n n0 "$2: $1" "^$1" nl n0 "${@:3}"
	[ "$3" != new ] || drop_x
}

# ------------------------------------------------------------- captures

# capture NS DEV FILE [FILTER...]: record into $TMP/FILE; on return it is
# recording. $CAP is the pid for capture_stop.
CAP=0
capture()
{
	local in=$1 dev=$2 file=$TMP/$3
	shift 3
	rm -f "$file"
	ip netns exec "$(ns "$in")" tcpdump -nn -U --immediate-mode -s 0 \
		-i "$dev" -w "$file" "$@" 2>"$file.err" </dev/null &
	CAP=$!
	defer kill -KILL "$CAP"
	wait_for grep -q 'listening on' "$file.err"
}

# capture_hex FILE: one line of hex per packet recorded so far
capture_hex() { agent pkt pcap "$TMP/$1"; }

capture_has() { [ "$(capture_hex "$1" | wc -l)" -ge "$2" ]; }

# capture_wait FILE N: until at least N packets are in the file
capture_wait() { wait_for capture_has "$@"; }

# capture_stop [PID]: whoever expects packets calls capture_wait before
capture_stop() { bg_stop "${1:-$CAP}" INT; }

# capture_text FILE [TCPDUMP OPTIONS]
capture_text()
{
	local file=$TMP/$1
	shift
	tcpdump -nn -r "$file" "$@" 2>/dev/null
}

# -------------------------------------------------------------- modules

# is_loaded MODULE
is_loaded() { [ -d "/sys/module/${1//-/_}" ]; }

# is_ours MODULE: it is loaded, and not the kernel's own file
is_ours() { grep -q O "/sys/module/$1/taint"; }

# right_module MODULE: the one that is to be tested is the one that is loaded
right_module()
{
	is_loaded "$1" || return 1
	if is_ours "$1"; then
		[ "$IPTNL_IN_TREE" != 1 ]
	else
		[ "$IPTNL_IN_TREE" = 1 ]
	fi
}

# The modules, in an order in which insmod can load them
CORE=ip_tunnel_core
[ "$IPTNL_IN_TREE" != 1 ] || CORE=ip_tunnel
# shellcheck disable=SC2034
MODULES="tunnel4 gre $CORE ipip ip_gre"

# remove_module MODULE: unload it, and what uses it before
remove_module()
{
	local user
	is_loaded "$1" || return 0
	for user in "/sys/module/$1/holders"/*; do
		[ ! -e "$user" ] || remove_module "${user##*/}"
	done
	rmmod "$1"
}

# remove_modules: all of ours and what uses them
remove_modules()
{
	local m
	for m in ipip ip_gre $CORE gre tunnel4; do
		remove_module "$m"
	done
}

# need_modules [MODULE]...: load them (by default all the tunnel's), and be
# sure it is the right ones
need_modules()
{
	local m
	# shellcheck disable=SC2086
	[ $# -gt 0 ] || set -- $MODULES
	for m; do
		modprobe "$m"
		right_module "$m" || {
			diag "$m: wrong module: $(modinfo -n "$m")"
			exit 1
		}
	done
}

if [ "$(id -u)" != 0 ]; then
	diag "must be root"
	exit 1
fi

# -------------------------------------------------- tests in Python

# wire NS [ARG]... <<'END'
# Run a Python program, which is on standard input, in NS with wire.py at hand;
# each of its results becomes one here. It must run to its end.
wire()
{
	local verdict ended=0 name more
	[ -e /dev/net/tun ] || modprobe tun
	while IFS=$'\x1f' read -r verdict KTAP_XFAIL name more; do
		case $verdict in
		ok) ok "$name" ;;
		bad) not_ok "$name" "${more//$'\x1f'/$'\n'}" ;;
		diag) diag "$name" ;;
		end) ended=1 ;;
		*) diag "$verdict" ;;
		esac
		KTAP_XFAIL=""
	done < <(in_ns "$1" env PYTHONPATH="$HERE" SERIES="$SERIES" \
		IPTNL_IN_TREE="$IPTNL_IN_TREE" python3 -S - "${@:2}" 2>&1 && printf 'end\x1f\x1f\n')
	[ $ended = 1 ] || {
		diag "the program in $1 did not run to its end"
		return 1
	}
}
