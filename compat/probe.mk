# SPDX-License-Identifier: GPL-2.0
# What the headers of the target kernel have. Stable kernels take changes over,
# so each question is put to the header itself, not to a version number.
#
# $(call has,NAME,HEADER,REGEX): -DCOMPAT_HAS_NAME if HEADER has a line like REGEX

has = $(if $(shell grep -sE '$(3)' $(srctree)/include/$(2)),-DCOMPAT_HAS_$(1))

ccflags-y += $(call has,TUNNEL_FLAGS_BITMAP,net/ip_tunnels.h,IP_TUNNEL_DECLARE_FLAGS)
ccflags-y += $(call has,IP_TUNNEL_LIMIT_HEADROOM,net/ip_tunnels.h,ip_tunnel_limit_headroom)
ccflags-y += $(call has,RTNL_NEWLINK_PARAMS,net/rtnetlink.h,^struct rtnl_newlink_params)
ccflags-y += $(call has,RTNL_DEV_LINK_NET_CAPABLE,net/rtnetlink.h,rtnl_dev_link_net_capable)
ccflags-y += $(call has,PERNET_EXIT_RTNL,net/net_namespace.h,[*]exit_rtnl)
ccflags-y += $(call has,NETDEV_LLTX,linux/netdevice.h,unsigned.*lltx:1)
ccflags-y += $(call has,NETDEV_NETNS_IMMUTABLE,linux/netdevice.h,netns_immutable:1)
ccflags-y += $(call has,NETDEV_NETNS_LOCAL,linux/netdevice.h,netns_local:1)
ccflags-y += $(call has,SKB_UNSET_TRANSPORT_HEADER,linux/skbuff.h,skb_unset_transport_header)
ccflags-y += $(if $(shell sed -n '/^struct header_ops/,/^}/p' $(srctree)/include/linux/netdevice.h | grep -A2 parse | grep -w net_device),-DCOMPAT_HAS_HEADER_PARSE_DEV)
ccflags-y += $(call has,GSO_TCP_FIXEDID_INNER,linux/skbuff.h,SKB_GSO_TCP_FIXEDID_INNER =)
ccflags-y += $(call has,ALLOC_NETDEV_DUMMY,linux/netdevice.h,alloc_netdev_dummy)
ccflags-y += $(call has,NET_HOTDATA_MAX_BACKLOG,net/hotdata.h,max_backlog)
ccflags-y += $(call has,LINUX_UNALIGNED,linux/unaligned.h,get_unaligned)
ccflags-y += $(call has,NET_GSO,net/gso.h,skb_gso_segment)
ccflags-y += $(call has,DEV_PATH_TUN,linux/netdevice.h,DEV_PATH_TUN)
ccflags-y += $(if $(shell sed -n '/^struct net_device_path_ctx {/,/^}/p' $(srctree)/include/linux/netdevice.h | grep -w ether_type),-DCOMPAT_HAS_PATH_CTX_ETHER_TYPE)
ccflags-y += $(call has,PATH_TUN_INNER_PROTO,linux/netdevice.h,u8.*inner_proto;)

# "y" where openvswitch's vport-gre calls it: there it is to be exported, elsewhere it must not be.
compat-gretap-fb-dev-create := $(if $(shell grep -s gretap_fb_dev_create $(srctree)/include/net/gre.h),y)

# Without this there is no way to end a namespace's tunnels under RTNL.
ifeq ($(shell grep -sE '[*]exit_(batch_)?rtnl' $(srctree)/include/net/net_namespace.h),)
$(error this kernel lacks exit_batch_rtnl in struct pernet_operations (6.1 has it from 6.1.170 on): the modules cannot work with it)
endif
