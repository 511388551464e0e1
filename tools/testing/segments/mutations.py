# SPDX-License-Identifier: GPL-2.0-only
"""Faults that the comparison must detect: changes as in ../faults.py, and the combinations that run"""

import collections

Mutation = collections.namedtuple("Mutation", "name changes where")

MUTATIONS = [
    Mutation("segments are not numbered", [("ip_tnl_gso.c", r"n\+\+\)", "n)")], {"tunnel": "gre  seq encap none"}),
    Mutation("identifications overlap", [
        ("ip_tnl_tx.c", r"ip_select_ident_segs\(net, skb, NULL, ip_tnl_segments\(skb\)\)",
         "ip_select_ident_segs(net, skb, NULL, 1)")], {"tunnel": "gre  none encap none nopmtudisc"}),
    Mutation("a checksum left to the device is corrected", [
        ("ip_tnl_gso.c", r" && !gre_checksum_is_left\(seg, base\)", "")], {"tunnel": "gre  all encap none"}),
    Mutation("labels are not skipped", [
        ("ip_gre_tx.c", r"\tif \(mpls\)\n\t\tgre_skip_labels\(skb, labels\);\n", "")],
             {"tunnel": "gre  none encap none", "flow": "label"}),
    Mutation("numbers overlap", [
        ("ip_gre_tx.c", r"atomic_fetch_add\(ip_tnl_segments\(skb\), &t->o_seqno\)",
         "atomic_fetch_add(1, &t->o_seqno)")], {"tunnel": "gretap  seq encap none"}),
]
