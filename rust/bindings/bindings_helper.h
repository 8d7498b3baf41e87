/* SPDX-License-Identifier: GPL-2.0 */
/*
 * Headers that the kernel crate's own bindings lack.
 *
 * Types that the kernel crate's bindings have (struct device, struct page…) come from there, see
 * bindgen_parameters.
 */

#include <linux/badblocks.h>
#include <linux/bio.h>
#include <linux/blkdev.h>
#include <linux/crc32.h>
#include <linux/dax.h>
#include <linux/exportfs.h>
#include <linux/falloc.h>
#include <linux/fileattr.h>
#include <linux/filelock.h>
#include <linux/fs.h>
#include <linux/fs_context.h>
#include <linux/fsmap.h>
#include <linux/fserror.h>
#include <linux/iomap.h>
#include <linux/iversion.h>
#include <linux/libnvdimm.h>
#include <linux/memremap.h>
#include <linux/nd.h>
#include <linux/poll.h>
#include <linux/posix_acl.h>
#include <linux/posix_acl_xattr.h>
#include <linux/set_memory.h>
#include <linux/siphash.h>
#include <linux/statfs.h>

#include <asm/mce.h>

/* Private headers of the nvdimm core, in drivers/nvdimm */
#include "btt.h"
#include "nd.h"
#include "pfn.h"

/* bindgen cannot evaluate these macros, so each constant gets a helper. */
const blk_features_t RUST_CONST_HELPER_BLK_FEAT_WRITE_CACHE = BLK_FEAT_WRITE_CACHE;
const blk_features_t RUST_CONST_HELPER_BLK_FEAT_FUA = BLK_FEAT_FUA;
const blk_features_t RUST_CONST_HELPER_BLK_FEAT_DAX = BLK_FEAT_DAX;
const blk_features_t RUST_CONST_HELPER_BLK_FEAT_SYNCHRONOUS = BLK_FEAT_SYNCHRONOUS;
const blk_features_t RUST_CONST_HELPER_BLK_FEAT_IO_STAT = BLK_FEAT_IO_STAT;
const blk_opf_t RUST_CONST_HELPER_REQ_FUA = REQ_FUA;
const blk_opf_t RUST_CONST_HELPER_REQ_OP_MASK = REQ_OP_MASK;
const blk_opf_t RUST_CONST_HELPER_REQ_PREFLUSH = REQ_PREFLUSH;
const blk_mode_t RUST_CONST_HELPER_BLK_OPEN_READ = BLK_OPEN_READ;
const __poll_t RUST_CONST_HELPER_EPOLLIN = EPOLLIN;
const __poll_t RUST_CONST_HELPER_EPOLLRDNORM = EPOLLRDNORM;
const fmode_t RUST_CONST_HELPER_FMODE_CAN_ODIRECT = FMODE_CAN_ODIRECT;
const fmode_t RUST_CONST_HELPER_FMODE_NOWAIT = FMODE_NOWAIT;
const fop_flags_t RUST_CONST_HELPER_FOP_MMAP_SYNC = FOP_MMAP_SYNC;
const gfp_t RUST_CONST_HELPER_GFP_NOFS = GFP_NOFS;
const int RUST_CONST_HELPER_IOCB_NOWAIT = IOCB_NOWAIT;
const u64 RUST_CONST_HELPER_MCE_HANDLED_UC = MCE_HANDLED_UC;
const u64 RUST_CONST_HELPER_MCE_IN_KERNEL_COPYIN = MCE_IN_KERNEL_COPYIN;
const unsigned long RUST_CONST_HELPER_SB_I_VERSION = SB_I_VERSION;
const unsigned long RUST_CONST_HELPER_SB_POSIXACL = SB_POSIXACL;
const unsigned long RUST_CONST_HELPER_SB_RDONLY = SB_RDONLY;

/* From drivers/dax/dax-private.h, the rest of which is not needed. */
struct inode *dax_inode(struct dax_device *dax_dev);
