/* SPDX-License-Identifier: GPL-2.0 */
#ifndef _IPTNL_VERSION_H
#define _IPTNL_VERSION_H

/* Nothing of the project's in here: it is included by everything. */
#include <linux/elfnote.h>

/* Of all five modules. */
#define IPTNL_VERSION "1.0.0"

/*
 * In each of them once: /sys/module/NAME/notes/.note.iptnl, by which the tool
 * "iptnl" tells them from somebody else's modules of the same names.
 */
#define IPTNL_NOTE ELFNOTE32("iptnl", 1, IPTNL_VERSION)

#endif /* _IPTNL_VERSION_H */
