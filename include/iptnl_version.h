/* SPDX-License-Identifier: GPL-2.0 */
#ifndef _IPTNL_VERSION_H
#define _IPTNL_VERSION_H

/* Of all five modules. Nothing else in here: it is included by everything. */
#define IPTNL_VERSION "1.0.0"

#endif /* _IPTNL_VERSION_H */
