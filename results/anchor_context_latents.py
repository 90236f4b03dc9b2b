import sys,pathlib,numpy as np,jax,jax.numpy as jnp
from lic_jax.training import data
from lic_jax.io.images import image_paths
from lic_jax.zoo.weights import load_weights
from lic_jax.config import ModelConfig
from lic_jax.model import CodecModel
from lic_jax.distortion.base import to_network_domain
tree,m=load_weights(pathlib.Path(sys.argv[1])); cfg=ModelConfig.from_json(m['config'])
params=jax.tree.map(jnp.float32,tree)
model=CodecModel(cfg)
enc=jax.jit(lambda p,x: model.apply({'params':p},to_network_domain(x),method='encode')[0])
train,held=data.split_held_out(image_paths(pathlib.Path('../shared/data/train')),0.05)
rng=np.random.default_rng(0)
for name,paths in (('train',train),('held',held)):
    ph=data.load_photographs(paths,320)
    crop=data.RandomCrop(320,0.6)
    out=[]
    for i,p in enumerate(ph.photographs):
        if name=='train': x=crop.random_map(p,rng)
        else:
            t=(p.shape[0]-320)//2;l=(p.shape[1]-320)//2;x=p[t:t+320,l:l+320]
        out.append(np.asarray(enc(params,x[None]),np.float16)[0])
        if i%100==0: print(name,i,len(ph),flush=True)
    np.save(sys.argv[2]+f'_{name}.npy',np.stack(out))
