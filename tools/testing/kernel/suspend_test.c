// SPDX-License-Identifier: GPL-2.0
/*
 * Suspend a network device: what its driver does, seen from the stack. In a
 * VM whose root is a virtio device the whole machine cannot be suspended.
 *
 *	echo v0 >/sys/module/ip_tnl_suspend_test/parameters/suspend
 *	echo v0 >/sys/module/ip_tnl_suspend_test/parameters/resume
 *
 * The device is one of the writer's network namespace.
 */
#include <linux/module.h>
#include <linux/netdevice.h>
#include <linux/nsproxy.h>
#include <linux/rtnetlink.h>
#include <linux/sched.h>

static int suspend_test_each(const char *value, void (*change)(struct net_device *dev))
{
	struct net_device *dev;
	char name[IFNAMSIZ];

	strscpy(name, value, sizeof(name));
	rtnl_lock();
	dev = __dev_get_by_name(current->nsproxy->net_ns, strim(name));
	if (dev)
		change(dev);
	rtnl_unlock();
	return dev ? 0 : -ENODEV;
}

static int suspend_test_suspend(const char *value, const struct kernel_param *param)
{
	return suspend_test_each(value, netif_device_detach);
}

static int suspend_test_resume(const char *value, const struct kernel_param *param)
{
	return suspend_test_each(value, netif_device_attach);
}

static const struct kernel_param_ops suspend_test_suspend_ops = { .set = suspend_test_suspend };
static const struct kernel_param_ops suspend_test_resume_ops = { .set = suspend_test_resume };

module_param_cb(suspend, &suspend_test_suspend_ops, NULL, 0200);
MODULE_PARM_DESC(suspend, "device to be suspended");
module_param_cb(resume, &suspend_test_resume_ops, NULL, 0200);
MODULE_PARM_DESC(resume, "device to be resumed");

MODULE_DESCRIPTION("iptnl: suspend of the device below a tunnel");
MODULE_LICENSE("GPL");
