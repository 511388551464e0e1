# SPDX-License-Identifier: GPL-2.0-only
"""Faults of the past that "fuzz canaries" puts back and must find: changes as in ../faults.py, how it is fuzzed, and
what is then said (a regular expression)"""

import collections

Canary = collections.namedtuple("Canary", "name changes what count sign")

DIFFERS = r"records compared, [1-9]\d* differ"

CANARIES = [
    Canary("fou panic: room for the encapsulation is made as it was when configured", [
        ("ip_tnl_tx.c", r"\tf->hlen \+= ops->encap_hlen\(f->encap\);\n",
         "\tf->hlen += f->collect_md ? ops->encap_hlen(f->encap) :\n"
         "\t\tcontainer_of(f->encap, struct ip_tnl_entry, p.encap)->tnl->tunnel.encap_hlen;\n"),
        ("ip_tnl_dev.c", r"\treturn memcmp\(.*\) \? 0 : t->encap_hlen;\n", "\treturn 0;\n")],
        "config", 30000, "skb_under_panic"),
    Canary("nested forwarding: GSO packets of a tunnel are taken into another one", [
        ("ip_tnl_dev.c", r"(\tdev->vlan_features \|= IP_TNL_FEATURES;\n)",
         r"\1\tdev->hw_enc_features |= IP_TNL_FEATURES | NETIF_F_GSO_ENCAP_ALL;\n")], "compare", 60000, DIFFERS),
    Canary("seq over fou: the segments of a GSO packet get one number", [
        ("ip_tnl_tx.c", r"!\(f->options & \(GRE_CSUM \| GRE_SEQ\)\) &&", "true &&"),
        ("ip_tnl_dev.c", r"e->p.o_flags & \(GRE_CSUM \| GRE_SEQ\) \|\| ", "")], "compare", 60000, DIFFERS),
    Canary("erspan version: a change of version makes two tunnels of the same parameters", [
        ("ip_gre_erspan.c", r"\tp->unkeyed = !p->erspan_ver;\n", "")], "config", 30000, "are the same tunnel"),
    Canary("packet without header: what tc brings is taken for the header", [
        ("ip_gre_l3.c", r"\tif \(!gre_header_is_ours\(iph, hlen\)\)\n\t\treturn false;\n", "")], "compare", 60000,
        DIFFERS),
]
