#!/bin/bash
# SPDX-License-Identifier: GPL-2.0-only
#
# What the client tests share, on top of the selftests' lib.sh: traffic that
# is checked byte by byte, captures of many packets, daemons. A test sources
# this file first and calls "finish" last.

# shellcheck source=tools/testing/selftests/lib.sh
. "$(dirname "${BASH_SOURCE[0]}")/../selftests/lib.sh"

# transfer tcp|udp NS PEER_NS ADDRESS COUNT [SIZE]: see xfer.py
transfer()
{
	python3 "$HERE/xfer.py" "$1" "$(ns "$2")" "$(ns "$3")" "${@:4}"
}

# traffic NAME NS PEER_NS ADDRESS PEER_ADDRESS
# Echoes and transfers between two namespaces, both ways; ADDRESS is that of
# NS, PEER_ADDRESS that of PEER_NS.
traffic()
{
	check "$1: echo" ping_ok "$2" "$5"
	check "$1: echo, the other way" ping_ok "$3" "$4"
	check "$1: TCP, 1 MB" transfer tcp "$2" "$3" "$5" 16 65536
	check "$1: TCP, 1 MB, the other way" \
		transfer tcp "$3" "$2" "$4" 16 65536
	check "$1: UDP" transfer udp "$2" "$3" "$5" 10 1200
	check "$1: UDP, the other way" transfer udp "$3" "$2" "$4" 10 1200
}

# packets FILE: as capture_hex, for captures of many packets
packets() { python3 "$HERE/pkt.py" pcap "$TMP/$1"; }

# how_many FILE [TCPDUMP FILTER]: packets in a capture
how_many() { capture_text "$@" | grep -c '^[0-9]' || :; }

# daemon NS COMMAND...: run it in NS, with a /run and a /sys of its own, so
# that each namespace can have its own instance of what expects to be alone;
# otherwise as bg.
daemon()
{
	local in=$1
	shift
	# shellcheck disable=SC2016
	bg "$in" unshare --mount --propagation private sh -ec '
		mount -t tmpfs tmpfs /run
		exec "$@"' sh "$@"
}
