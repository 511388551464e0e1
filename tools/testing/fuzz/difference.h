/* SPDX-License-Identifier: GPL-2.0 */
#ifndef _IPTNL_FUZZ_DIFFERENCE_H
#define _IPTNL_FUZZ_DIFFERENCE_H

#include "packet.h"

/*
 * Return: the case of doc/differences.md that a packet is, in the tunnels of
 * world.py, or NULL: then both sets of modules must treat it the same.
 */
const char *difference(const struct packet *p, enum packet_layer first);

/* The same for a GSO packet, which is no larger than any path MTU. */
const char *difference_gso(uint16_t gso_size);

#endif
