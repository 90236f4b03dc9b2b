"""trains the context prior on frozen latents: train_ctx.py ANCHOR OUT STEPS"""
import sys,time,pathlib,json,dataclasses,numpy as np,jax,jax.numpy as jnp,optax
from lic_jax.config import ModelConfig
from lic_jax.model import CodecModel,initialize
from lic_jax.zoo.weights import load_weights,save_weights,anchor_metadata
from lic_jax.quantization.relaxation import bits,mixed
from lic_jax.quantization.noise import NOISE
S='runs/context/'
anchor,out,steps=pathlib.Path(sys.argv[1]),pathlib.Path(sys.argv[2]),int(sys.argv[3])
lat=sys.argv[4] if len(sys.argv)>4 else S+'lat'
LR=float(sys.argv[5]) if len(sys.argv)>5 else 2e-3
start=sys.argv[6] if len(sys.argv)>6 else None
tree,m=load_weights(anchor); base=ModelConfig.from_json(m['config'])
cfg=dataclasses.replace(base,prior='context')
model=CodecModel(cfg); PARTS=model.prior.parts
tr=np.load(lat+'_train.npy',mmap_mode='r'); he=np.load(lat+'_held.npy')
full=jax.tree.map(np.asarray,initialize(cfg,jax.random.key(0)))
std=np.asarray(tr[::10],np.float32).std(axis=(0,1,2))
full=model.prior.start_at(full,std)
if not start:
    import lic_jax.entropy.scale_table as T
    for k in ('hyper_analysis','hyper_prior'): full[k]=jax.tree.map(np.float32,tree[k])
    old=CodecModel(base); hs=jax.tree.map(np.float32,tree['hyper_synthesis'])
    zs=np.concatenate([np.rint(np.asarray(jax.jit(lambda y: old.apply({'params':jax.tree.map(np.float32,tree)},y,method=lambda m,y: m.prior.hyper_encode(m,y)))(np.asarray(tr[i:i+64],np.float32)))) for i in range(0,640,64)])
    from lic_jax.transforms.layers import TransposedConvolution as TC
    x=zs
    for i,(w,k,s) in enumerate(((96,5,2),(38,5,2))):
        a=np.maximum(np.asarray(TC(w,k,s).apply({'params':hs[f'layer_{i}']},x)),0)
        top=a.max(axis=(0,1,2)); print('layer',i,'dead',int((top<1e-3).sum()),'range',np.percentile(top,[0,50,100]))
        g=np.where(top>1e-3,12/np.maximum(top,1e-3),1).astype(np.float32)
        hs[f'layer_{i}']={'kernel':hs[f'layer_{i}']['kernel']*g[:,None],'bias':hs[f'layer_{i}']['bias']*g}
        hs[f'layer_{i+1}']['kernel']=hs[f'layer_{i+1}']['kernel']/g
        x=a*g
    l2=hs['layer_2']; C=320; u=np.ones(640,np.float32); u[C:]=1/(8*T.LOG_SCALE_STEP)
    b=l2['bias'].copy(); b[C:]-=np.log(T.SCALE_MIN)
    hs['layer_2']={'kernel':l2['kernel']*u[:,None],'bias':b*u}
    full['hyper_synthesis']=hs
if start:
    t2,_=load_weights(pathlib.Path(start)); full={**full,**{k:jax.tree.map(np.float32,t2[k]) for k in PARTS}}
full={**full,'analysis':jax.tree.map(np.float32,tree['analysis']),'synthesis':jax.tree.map(np.float32,tree['synthesis'])}
p={k:full[k] for k in PARTS}
print('parameters',{k:sum(x.size for x in jax.tree.leaves(v)) for k,v in p.items()},flush=True)
H=20;B=8
def objective(p,y,key,step,hard=False):
    V={'params':{**{k:full[k] for k in ('analysis','synthesis')},**p}} if False else {'params':p}
    def f(mod):
        z=mod.prior.hyper_encode(mod,y)
        k1,k2=jax.random.split(key)
        if hard: nz=qz=jnp.round(z)
        else: nz,qz=mixed(k1,z,1.0)
        hb=jnp.sum(bits(mod.hyper_mass(nz-.5,nz+.5)),axis=(1,2,3))
        decide=lambda mean,_: mixed(k2,y-mean,step)[1]
        _,mean,index=mod.predict(qz,decide)
        r=step*jnp.round((y-mean)/step) if hard else mixed(k2,y-mean,step)[0]
        if hard: index=jnp.round(index)
        lb=bits(mod.latent_mass(r-step/2,r+step/2,index))
        return lb,hb,mean,index
    return model.apply(V,method=f)
sched=optax.join_schedules([optax.linear_schedule(0,LR,100),optax.cosine_decay_schedule(LR,steps-100,0.01)],[100])
opt=optax.chain(optax.clip_by_global_norm(1.),optax.adam(sched)); st=opt.init(p)
@jax.jit
def upd(p,st,y,i):
    key=jax.random.fold_in(jax.random.key(7,impl=NOISE),i)
    def loss(p):
        k1,k2=jax.random.split(key)
        s=jnp.exp(jax.random.uniform(k1,(y.shape[0],1,1,1),minval=-np.log(2.),maxval=np.log(2.)))
        lb,hb,_,_=objective(p,y,k2,s); return (jnp.sum(lb)+jnp.sum(hb))/(y.shape[0]*H*H*256)
    l,g=jax.value_and_grad(loss)(p); u,st=opt.update(g,st,p); return optax.apply_updates(p,u),st,l
@jax.jit
def ev(p,y,s):
    lb,hb,mean,index=objective(p,y,jax.random.key(0,impl=NOISE),s,True); return jnp.sum(lb,axis=(0,1,2)),jnp.sum(hb),jnp.mean(jnp.abs(mean),axis=(0,1,2))
def evaluate(p):
    r=[]
    for s in (.5,1.,2.):
        l=0;h=0;mu=0
        for i in range(0,len(he),26):
            a,b,c=ev(p,he[i:i+26].astype(np.float32),s); l=l+np.asarray(a);h+=float(b);mu=mu+np.asarray(c)/3
        n=len(he)*400*256
        r.append(f'{(l.sum()+h)/n:.4f} (hyper {h/n:.4f}; 0-16 {l[:16].sum()/n:.3f} 16-64 {l[16:64].sum()/n:.3f} 64+ {l[64:].sum()/n:.3f}; |mu|>.1: {int((mu>.1).sum())})')
    return r
def save(p): save_weights(out,{**{k:full[k] for k in ('analysis','synthesis')},**jax.tree.map(np.asarray,p)},anchor_metadata(cfg,float(m['rd_lambda'])))
rng=np.random.default_rng(int(time.time()) if start else 0)
t0=time.time();acc=[]
for i in range(steps):
    idx=rng.integers(len(tr),size=B); y=tr[np.sort(idx)].astype(np.float32)
    if rng.random()<.0: y=y[:,:,::-1]
    p,st,l=upd(p,st,y,i); acc.append(l)
    if (i+1)%500==0 or i in (0,100): print(i+1,f'{time.time()-t0:.0f}s loss {float(np.mean([float(a) for a in acc[-500:]])):.4f}',*evaluate(p),flush=True); save(p); acc=[]
