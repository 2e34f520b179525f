"""What help pages begin with: what commands are for, and examples of them."""

ABOUT = "Train, evaluate and run vision models, with numbers that can be trusted."
TASK_ABOUT = {
    "classify": "Image classification: a class per image.",
    "segment": "Semantic segmentation: a class per pixel.",
    "detect": "Object detection: a box, a class and a score per object.",
    "instance": "Instance segmentation: a box, a class, a score and a mask per object (Mask "
    "R-CNN).",
    "video": "Video classification: a class per video.",
    "data": "Datasets: check, describe, show, divide and convert them.",
    "weights": "Trained weights: list, verify, import, prove and average them.",
}
EXAMPLES = {
    (): (
        "cvkit segment train --arch unet",
        "cvkit classify train --data DIR --arch resnet18",
        "cvkit segment eval --weights runs/segment-unet-001 --data DIR --json",
        "cvkit segment predict photos/ --weights runs/segment-unet-001 --out out/",
        "cvkit models segment",
    ),
    ("classify",): (
        "cvkit classify train --data DIR --arch resnet50 --pretrained imagenet --epochs 10",
        "cvkit classify eval --predictions scores.csv --truth labels.csv",
        "cvkit classify predict samples/classify --weights shapes",
    ),
    ("classify", "train"): (
        "cvkit classify train --arch mobilenet_v3_small",
        "cvkit classify train --data DIR --arch resnet18 --epochs 10 --mixup 0.2 --check",
        "cvkit classify train --data DIR --pretrained imagenet --freeze backbone --unfreeze-at 3",
        "cvkit classify train --data DIR --arch knn --backbone resnet18 --pretrained imagenet",
    ),
    ("classify", "eval"): (
        "cvkit classify eval --weights runs/classify-resnet18-001 --data DIR --tta flip --json",
        "cvkit classify eval --weights shapes --data samples --fail-under top1=0.9",
        "cvkit classify eval --predictions scores.csv --truth labels.csv",
    ),
    ("classify", "predict"): (
        "cvkit classify predict photos/ --weights imagenet --out out/",
        "cvkit classify predict photos/ --weights shapes --out out/ --save sorted",
        "cvkit classify predict photos/ --weights runs/classify-resnet18-001 --embeddings f.npz",
    ),
    ("segment",): (
        "cvkit segment train --data DIR --arch deeplab --backbone resnet50 --epochs 30",
        "cvkit segment eval --predictions masks/ --truth DIR",
        "cvkit segment predict 'photos/**/*.jpg' --weights runs/segment-unet-001 --out out/",
    ),
    ("segment", "train"): (
        "cvkit segment train --arch unet",
        "cvkit segment train --data DIR --backbone resnet34 --image-size 512x384 --epochs 60",
        "cvkit segment train --data DIR --mask-map 255=1 --loss ce+dice --class-weights balanced",
        "cvkit segment train --resume runs/segment-unet-001",
    ),
    ("segment", "eval"): (
        "cvkit segment eval --weights runs/segment-unet-001 --data DIR --split val --json",
        "cvkit segment eval --weights runs/segment-unet-001 --data DIR --fail-under miou=0.7",
        "cvkit segment eval --predictions masks/ --truth DIR --split val",
    ),
    ("segment", "predict"): (
        "cvkit segment predict photos/ --weights runs/segment-unet-001 --out out/",
        "cvkit segment predict photos/ --weights coco-voc --out out/",
        "cvkit segment predict a.jpg b.png @more.txt --weights model.safetensors --overlay jpg",
        "find . -name '*.jpg' | cvkit segment predict - --weights model.safetensors --out out/",
    ),
    ("detect",): (
        "cvkit detect train --data DIR --arch faster-rcnn --backbone resnet50 --epochs 12",
        "cvkit detect eval --predictions results.json --truth instances_val2017.json",
        "cvkit detect predict photos/ --weights runs/detect-faster-rcnn-001 --out out/",
    ),
    ("detect", "train"): (
        "cvkit detect train --arch faster-rcnn",
        "cvkit detect train --data DIR --backbone resnet50 --pretrained imagenet --min-size 800",
        "cvkit detect train --train-json a.json --val-json b.json --images photos/",
        "cvkit detect train --data DIR --arch fast-rcnn --proposals proposals.npz",
    ),
    ("detect", "eval"): (
        "cvkit detect eval --weights runs/detect-faster-rcnn-001 --data DIR --split val --json",
        "cvkit detect eval --predictions results.json --truth instances.json --protocol coco",
        "cvkit detect eval --predictions out/ --truth VOC2007 --split test --protocol voc07",
    ),
    ("detect", "predict"): (
        "cvkit detect predict photos/ --weights runs/detect-faster-rcnn-001 --out out/",
        "cvkit detect predict photos/ clip.mp4 --weights coco --save yolo,video --fps 5",
    ),
    ("detect", "proposals"): (
        "cvkit detect proposals DIR --out proposals.npz",
        "cvkit detect proposals samples --mode quality --out samples.npz",
    ),
    ("instance",): (
        "cvkit instance train --data DIR --arch mask-rcnn --backbone resnet50 --epochs 12",
        "cvkit instance eval --predictions results.json --truth instances_val2017.json",
        "cvkit instance predict photos/ --weights runs/instance-mask-rcnn-001 --out out/",
    ),
    ("instance", "train"): (
        "cvkit instance train",
        "cvkit instance train --data DIR --backbone resnet50 --pretrained imagenet --min-size 800",
        "cvkit instance train --train-json a.json --val-json b.json --images photos/",
    ),
    ("instance", "eval"): (
        "cvkit instance eval --weights runs/instance-mask-rcnn-001 --data DIR --split val --json",
        "cvkit instance eval --weights masks --data samples --fail-under mask.AP50=0.8",
        "cvkit instance eval --predictions results.json --truth instances.json --boundary",
    ),
    ("instance", "predict"): (
        "cvkit instance predict photos/ --weights masks --out out/",
        "cvkit instance predict photos/ --weights coco --threshold 0.5 --overlay jpg",
    ),
    ("video",): (
        "cvkit video train --data DIR --arch r3d --epochs 20",
        "cvkit video eval --predictions a.csv --fuse b.csv=0.5 --truth DIR",
        "cvkit video predict clips/ --weights runs/video-r3d-001 --out out/",
    ),
    ("video", "train"): (
        "cvkit video train --arch r3d-small",
        "cvkit video train --data DIR --arch cnn-lstm --pretrained imagenet --frames 8",
        "cvkit video train --data DIR --arch r2plus1d --pretrained kinetics --fps 15 --views 5x1",
    ),
    ("video", "eval"): (
        "cvkit video eval --weights runs/video-r3d-001 --data DIR --views 10x3 --json",
        "cvkit video eval --predictions scores.csv --truth labels.csv",
        "cvkit video eval --predictions a/ --fuse b/=0.5 --fuse c.csv --truth DIR --split val",
    ),
    ("video", "predict"): (
        "cvkit video predict clips/ --weights runs/video-r3d-001 --out out/ --save video",
        "cvkit video predict long.mp4 --weights kinetics --views 20x1 --per-clip",
    ),
    ("data",): (
        "cvkit data check DIR",
        "cvkit data stats DIR",
        "cvkit data show DIR --out a.png",
        "cvkit data convert DIR --to coco --out NEW",
    ),
    ("data", "check"): (
        "cvkit data check DIR",
        "cvkit data check DIR --task segment --mask-map 255=1",
        "cvkit data check instances.json --task detect --images photos/ --ignore class.unused",
        "cvkit data check DIR --select image,leak --fix-list broken.txt",
    ),
    ("data", "convert"): (
        "cvkit data convert DIR --to coco --out NEW",
        "cvkit data convert instances.json --task segment --to pairs --out NEW",
        "cvkit data convert DIR --task detect --to yolo --out NEW --split val --lossless",
    ),
    ("pretrain",): (
        "cvkit pretrain --data photos/ --method moco-v2 --arch resnet18 --epochs 200",
        "cvkit pretrain --data DIR --method rotation --arch resnet50 --optimizer lars",
        "cvkit classify train --data DIR --arch resnet18 --pretrained runs/pretrain-moco-v2-001",
    ),
    ("probe",): (
        "cvkit probe --data DIR --pretrained runs/pretrain-moco-v2-001",
        "cvkit probe --data DIR --backbone resnet18 --json",
    ),
    ("compare",): (
        "cvkit compare runs/segment-eval-001 runs/segment-eval-002 --max-drop 0.01",
        "cvkit compare a.json b.json --task detect --truth instances_val2017.json",
    ),
    ("tune",): (
        "cvkit tune classify --data DIR --trials 20 --epochs 3 --set arch=resnet18",
        "cvkit tune segment --strategy grid --lr 1e-4,1e-2 --weight-decay 0.01 --points 3",
    ),
    ("bench",): (
        "cvkit bench segment --weights runs/segment-unet-001 --data DIR",
        "cvkit bench classify photos/ --weights imagenet --engines eager,fused --batch-sizes 1,16",
        "cvkit bench detect --arch faster-rcnn --set backbone=resnet50 --out bench.json",
    ),
    ("explain",): (
        "cvkit explain photos/ --weights runs/classify-resnet18-001 --method all",
        "cvkit explain photos/ --weights runs/segment-unet-001 --method patches --channels 0-7",
    ),
    ("features",): (
        "cvkit features photos/ --weights runs/classify-resnet18-001 --maps tsne,pca",
        "cvkit features DIR/val --weights imagenet --task classify --truth DIR --clusters 10",
        "cvkit features photos/ --weights runs/detect-faster-rcnn-001 --queries me.jpg "
        "--duplicates 0.98",
    ),
    ("attack",): (
        "cvkit attack photos/ --weights runs/classify-resnet18-001 --attack pgd:eps=2,steps=10",
        "cvkit attack samples/segment --weights scenes --out attacked/",
    ),
    ("dream",): (
        "cvkit dream --weights shapes --target all --gif",
        "cvkit dream photo.jpg --weights imagenet --task classify --layer backbone.layer3",
    ),
    ("export",): ("cvkit export --weights runs/segment-unet-001 --data DIR --out unet.onnx",),
    ("data", "stats"): (
        "cvkit data stats DIR",
        "cvkit data stats DIR --task instance --split train --out stats.html",
        "cvkit data stats DIR --set min_size=800 --json",
    ),
    ("data", "show"): (
        "cvkit data show DIR --out labels.png",
        "cvkit data show DIR --with-class dog --count 100 --out dogs.html",
        "cvkit data show DIR --augment strong --out strong.png",
    ),
    ("data", "split"): (
        "cvkit data split DIR --out splits.json --test-fraction 0.1",
        "cvkit data split DIR --out folds.json --folds 5 --group-by folder",
        "cvkit data split DIR --out splits.json --group-by 'regex:patient(\\d+)'",
    ),
    ("weights",): (
        "cvkit weights list",
        "cvkit weights import resnet50.pth --arch resnet50 --out resnet50.safetensors",
    ),
    ("weights", "list"): ("cvkit weights list --json",),
    ("weights", "verify"): ("cvkit weights verify", "cvkit weights verify model.safetensors"),
    ("weights", "average"): (
        "cvkit weights average runs/a runs/b runs/c --out soup.safetensors",
        "cvkit weights average runs/* --method greedy --data DIR --out soup.safetensors",
    ),
    ("weights", "prove"): ("cvkit weights prove runs/segment-unet-001 --data DIR",),
    ("weights", "import"): (
        "cvkit weights import resnet50-0676ba61.pth --arch resnet50 --out resnet50.safetensors",
        "cvkit weights import f.pth --task segment --arch fcn_resnet50 --out fcn.safetensors",
        "cvkit weights import swin.pth --arch swin_t --classes classes.txt --out swin.safetensors",
    ),
    ("models",): ("cvkit models", "cvkit models segment --json"),
    ("samples",): ("cvkit samples scenes/ --task segment --count 200 --seed 1",),
}
