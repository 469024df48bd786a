// SPDX-License-Identifier: GPL-2.0-only
/*
 * vblit: the backend for QEMU's educational PCI device, /dev/vblit-edu.
 */
#include <linux/dma-mapping.h>
#include <linux/interrupt.h>
#include <linux/io.h>
#include <linux/pci.h>
#include <linux/random.h>
#include <linux/sizes.h>
#include <linux/slab.h>

#include "vblit.h"

/**
 * DOC: a device that nobody here wrote
 *
 * "-device edu" masters the PCI bus: it moves some bytes between memory and a
 * buffer of its own, and raises an MSI when the bytes have arrived, about 100 ms
 * later. That is all it can do: to copy is to load its buffer and to store it,
 * and what has to be calculated is calculated in a page of the driver that the
 * device loads and stores like any other. No CPU touches a dma-buf.
 *
 * How many address bits it has depends on its dma_mask, which cannot be read.
 * Those above are ignored, and a store would hit other memory. So the driver
 * loads from addresses with a high bit set and looks whether the device has
 * found what lies below.
 */

#define EDU_VENDOR	0x1234
#define EDU_DEVICE	0x11e8

#define EDU_ID		0x00
#define EDU_ID_MASK	0xff
#define EDU_ID_VALUE	0xed
#define EDU_IRQ_STATUS	0x24
#define EDU_IRQ_ACK	0x64
#define EDU_DMA_SRC	0x80
#define EDU_DMA_DST	0x88
#define EDU_DMA_COUNT	0x90
#define EDU_DMA_CMD	0x98

#define EDU_IRQ_DMA	BIT(8)
#define EDU_CMD_RUN	BIT(0)
#define EDU_CMD_STORE	BIT(1)	/* from the device to memory */
#define EDU_CMD_IRQ	BIT(2)

/*
 * Its buffer, as its DMA engine sees it. Half of its size: QEMU aborts when a
 * transfer ends with the last byte.
 */
#define EDU_BUFFER	0x40000
#define EDU_BUFFER_SIZE	SZ_2K

/* What it has unless it was told otherwise. */
#define EDU_DMA_BITS	28

/**
 * struct edu - a device
 * @pdev: of the PCI bus
 * @regs: registers
 * @arrived: its DMA is over
 * @broken: it has never said that its DMA is over, and is not asked again; the engine's
 * @vdev: what it is used for
 */
struct edu {
	struct pci_dev *pdev;
	void __iomem *regs;
	struct completion arrived;
	bool broken;
	struct vblit_device *vdev;
};

static irqreturn_t edu_interrupt(int irq, void *data)
{
	struct edu *edu = data;
	u32 status = ioread32(edu->regs + EDU_IRQ_STATUS);

	if (!status)
		return IRQ_NONE;
	iowrite32(status, edu->regs + EDU_IRQ_ACK);
	if (status & EDU_IRQ_DMA)
		complete(&edu->arrived);
	return IRQ_HANDLED;
}

/* One transfer at a time: there is one engine. */
static int transfer(struct edu *edu, u64 from, u64 to, size_t length, u32 direction)
{
	if (edu->broken)
		return -EIO;
	reinit_completion(&edu->arrived);
	writeq(from, edu->regs + EDU_DMA_SRC);
	writeq(to, edu->regs + EDU_DMA_DST);
	writeq(length, edu->regs + EDU_DMA_COUNT);
	writeq(EDU_CMD_RUN | EDU_CMD_IRQ | direction, edu->regs + EDU_DMA_CMD);
	/* It has no way to be stopped but to be kept off the bus, before its memory is unmapped. */
	if (!wait_for_completion_timeout(&edu->arrived, 10 * HZ)) {
		pci_clear_master(edu->pdev);
		edu->broken = true;
		return -EIO;
	}
	return readq(edu->regs + EDU_DMA_CMD) & EDU_CMD_RUN ? -EIO : 0;
}

static int load(struct edu *edu, dma_addr_t from, size_t at, size_t length)
{
	return transfer(edu, from, EDU_BUFFER + at, length, 0);
}

static int store(struct edu *edu, size_t at, dma_addr_t to, size_t length)
{
	return transfer(edu, EDU_BUFFER + at, to, length, EDU_CMD_STORE);
}

static int load_buffer(struct edu *edu, struct vblit_cursor *src, u64 from, size_t length)
{
	size_t done, part;
	int err;

	for (done = 0; done < length; done += part) {
		dma_addr_t address;

		part = length - done;
		address = vblit_cursor_seek(src, from + done, &part);
		err = load(edu, address, done, part);
		if (err)
			return err;
	}
	return 0;
}

static int store_buffer(struct edu *edu, struct vblit_cursor *dst, u64 to, size_t length)
{
	size_t done, part;
	int err;

	for (done = 0; done < length; done += part) {
		dma_addr_t address;

		part = length - done;
		address = vblit_cursor_seek(dst, to + done, &part);
		err = store(edu, done, address, part);
		if (err)
			return err;
	}
	return 0;
}

static int edu_copy(struct vblit_engine *engine, struct vblit_cursor *dst, u64 to,
		    struct vblit_cursor *src, u64 from, size_t length)
{
	struct edu *edu = engine->vdev->priv;

	return load_buffer(edu, src, from, length) ?: store_buffer(edu, dst, to, length);
}

static int edu_read(struct vblit_engine *engine, struct vblit_cursor *src, u64 from, size_t at,
		    size_t length)
{
	struct edu *edu = engine->vdev->priv;

	return load_buffer(edu, src, from, length) ?:
	       store(edu, 0, engine->scratch_dma + at, length);
}

static int edu_write(struct vblit_engine *engine, struct vblit_cursor *dst, u64 to, size_t at,
		     size_t length)
{
	struct edu *edu = engine->vdev->priv;

	return load(edu, engine->scratch_dma + at, 0, length) ?:
	       store_buffer(edu, dst, to, length);
}

static const struct vblit_backend edu_backend = {
	.name = "vblit-edu",
	.chunk = EDU_BUFFER_SIZE,
	.pieces = 5,
	.copy = edu_copy,
	.read = edu_read,
	.write = edu_write,
};

#define PROBE_SIZE 64

/* Does the device tell @bit of an address? 1 yes, 0 no, or an error. */
static int has_bit(struct edu *edu, u8 *page, dma_addr_t address, unsigned int bit)
{
	int err;

	get_random_bytes(page, PROBE_SIZE);
	memset(page + PROBE_SIZE, 0, PROBE_SIZE);
	err = load(edu, address | BIT_ULL(bit), 0, PROBE_SIZE) ?:
	      store(edu, 0, address + PROBE_SIZE, PROBE_SIZE);
	if (err)
		return err;
	return memcmp(page, page + PROBE_SIZE, PROBE_SIZE) ? 1 : 0;
}

/* Address bits, or an error. The DMA mask is what every such device has. */
static int count_bits(struct edu *edu)
{
	static const unsigned int candidates[] = { 40, 32, 30, EDU_DMA_BITS };
	struct device *dev = &edu->pdev->dev;
	int bits = EDU_DMA_BITS, err = 0;
	dma_addr_t address;
	unsigned int i;
	u8 *page;

	page = dma_alloc_coherent(dev, PAGE_SIZE, &address, GFP_KERNEL);
	if (!page)
		return -ENOMEM;
	for (i = 0; i < ARRAY_SIZE(candidates) && !err; i++) {
		/* If it tells this bit, it tells all below it. */
		err = has_bit(edu, page, address, candidates[i]);
		if (err > 0)
			bits = candidates[i] + 1;
	}
	dma_free_coherent(dev, PAGE_SIZE, page, address);
	return err < 0 ? err : bits;
}

static int set_mask(struct edu *edu)
{
	struct device *dev = &edu->pdev->dev;
	int bits, err;

	err = dma_set_mask_and_coherent(dev, DMA_BIT_MASK(EDU_DMA_BITS));
	if (err)
		return err;
	bits = count_bits(edu);
	if (bits < 0)
		return bits;
	dev_info(dev, "reaches %d bits of memory addresses\n", bits);
	return dma_set_mask_and_coherent(dev, DMA_BIT_MASK(bits));
}

static int edu_probe(struct pci_dev *pdev, const struct pci_device_id *id)
{
	struct edu *edu;
	int err;

	edu = kzalloc(sizeof(*edu), GFP_KERNEL);
	if (!edu)
		return -ENOMEM;
	edu->pdev = pdev;
	init_completion(&edu->arrived);
	err = pci_enable_device(pdev);
	if (err)
		goto free;
	err = pci_request_region(pdev, 0, edu_backend.name);
	if (err)
		goto disable;
	err = -ENOMEM;
	edu->regs = pci_iomap(pdev, 0, 0);
	if (!edu->regs)
		goto release_region;
	err = -ENODEV;
	if ((ioread32(edu->regs + EDU_ID) & EDU_ID_MASK) != EDU_ID_VALUE)
		goto unmap;
	pci_set_master(pdev);
	err = pci_alloc_irq_vectors(pdev, 1, 1, PCI_IRQ_MSI);
	if (err < 0)
		goto clear_master;
	err = request_irq(pci_irq_vector(pdev, 0), edu_interrupt, 0, edu_backend.name, edu);
	if (err)
		goto free_vectors;
	err = set_mask(edu);
	if (err)
		goto free_irq;
	dma_set_max_seg_size(&pdev->dev, UINT_MAX);
	edu->vdev = vblit_device_add(&pdev->dev, &edu_backend, 1, edu);
	if (IS_ERR(edu->vdev)) {
		err = PTR_ERR(edu->vdev);
		goto free_irq;
	}
	pci_set_drvdata(pdev, edu);
	return 0;

free_irq:
	free_irq(pci_irq_vector(pdev, 0), edu);
free_vectors:
	pci_free_irq_vectors(pdev);
clear_master:
	pci_clear_master(pdev);
unmap:
	pci_iounmap(pdev, edu->regs);
release_region:
	pci_release_region(pdev, 0);
disable:
	pci_disable_device(pdev);
free:
	kfree(edu);
	return err;
}

static void edu_remove(struct pci_dev *pdev)
{
	struct edu *edu = pci_get_drvdata(pdev);

	vblit_device_remove(edu->vdev);
	free_irq(pci_irq_vector(pdev, 0), edu);
	pci_free_irq_vectors(pdev);
	pci_clear_master(pdev);
	pci_iounmap(pdev, edu->regs);
	pci_release_region(pdev, 0);
	pci_disable_device(pdev);
	kfree(edu);
}

static const struct pci_device_id edu_ids[] = {
	{ PCI_DEVICE(EDU_VENDOR, EDU_DEVICE) },
	{ }
};
MODULE_DEVICE_TABLE(pci, edu_ids);

static struct pci_driver edu_driver = {
	.name = "vblit-edu",
	.id_table = edu_ids,
	.probe = edu_probe,
	.remove = edu_remove,
};

/**
 * vblit_edu_init - look for the device
 *
 * Returns: 0, also if there is none.
 */
int vblit_edu_init(void)
{
	return pci_register_driver(&edu_driver);
}

/**
 * vblit_edu_exit - undo vblit_edu_init()
 */
void vblit_edu_exit(void)
{
	pci_unregister_driver(&edu_driver);
}
