# SPDX-License-Identifier: GPL-2.0
#
# Filter of a kernel log: leave out the data races that KCSAN reports in
# which none of our modules takes part.
# Read by run_tests and by tools/testing/vm/complaints.sh.

BEGIN {
	OURS = "\\[(tunnel4|gre|ipip|ip_gre|ip_tunnel_core|ip_tnl_[a-z_]+)\\]"
}

/BUG: KCSAN: / {
	inside = 1
	report = ""
	ours = 0
}

inside {
	report = report $0 "\n"
	if ($0 ~ OURS)
		ours = 1
	if (/=====/) {
		inside = 0
		if (ours)
			printf "%s", report
	}
	next
}

{ print }

END {
	# The log ends within a report.
	if (inside)
		printf "%s", report
}
