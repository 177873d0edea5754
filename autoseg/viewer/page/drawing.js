// The drawing of one case by NiiVue: which volumes lie over each other, in which colours, seen how.

import { shownLabels } from "./labelmap.js";

export const VIEWS = [
  { name: "planes", title: "Planes and 3-D", key: "v" },
  { name: "axial", title: "Axial", key: "a" },
  { name: "coronal", title: "Coronal", key: "c" },
  { name: "sagittal", title: "Sagittal", key: "s" },
  { name: "render", title: "3-D", key: "t" },
];

const HEAT = "inferno";
const GREY = "gray";
const CROSSHAIR = 0.25;
const NO_CUT = [2, 0, 0];

export class Drawing {
  constructor(canvas, { onPlace }) {
    const { Niivue, SLICE_TYPE, SHOW_RENDER } = window.niivue;
    this.kinds = {
      planes: SLICE_TYPE.MULTIPLANAR, axial: SLICE_TYPE.AXIAL, coronal: SLICE_TYPE.CORONAL,
      sagittal: SLICE_TYPE.SAGITTAL, render: SLICE_TYPE.RENDER,
    };
    this.canvas = canvas;
    this.onPlace = onPlace;
    this.drawn = [];
    this.nv = new Niivue({
      backColor: [0, 0, 0, 1], crosshairColor: [0.9, 0.9, 0.9, 0.8], crosshairWidth: CROSSHAIR, crosshairWidthUnit: "percent", crosshairGap: 3, fontColor: [0.9, 0.9, 0.9, 1],
      isRadiologicalConvention: true, sagittalNoseLeft: true, multiplanarShowRender: SHOW_RENDER.ALWAYS, multiplanarPadPixels: 4,
      dragAndDropEnabled: false, isColorbar: false, showLegend: false, logLevel: "error", loadingText: "", isNearestInterpolation: false,
      clipPlaneColor: [0, 0, 0, 0], viewModeHotKey: "", clipPlaneHotKey: "", cycleClipPlaneHotKey: "", show3Dcrosshair: false, showAllOrientationMarkers: true,
    });
    this.nv.onLocationChange = () => this.#tellPlace();
  }

  async attach() {
    await this.nv.attachToCanvas(this.canvas, true);
  }

  // A volume from the bytes of the server; label maps keep what they were before classes were switched off.
  async load(buffer, layer, colours) {
    const { NVImage } = window.niivue;
    const isHeat = layer.kind === "map";
    const volume = await NVImage.new(buffer, `${layer.id}.nii`, isHeat ? HEAT : GREY, 1.0);
    volume.name = layer.name;
    const labels = colours ? volume.img : null;
    if (colours) volume.setColormapLabel(colormap(colours));
    if (isHeat) volume.colormapType = 1;
    return { layer, volume, labels, darkest: volume.cal_min, brightest: volume.cal_max };
  }

  // Draw `loaded` volumes, the first as background, each with its opacity, hidden classes and outlines.
  show(loaded, looks) {
    const nv = this.nv;
    this.drawn = loaded;
    for (const one of loaded) {
      const { opacity, hidden, outlined } = looks(one.layer);
      one.volume.opacity = opacity;
      if (one.labels) {
        const shape = one.volume.hdr.dims.slice(1, 4);
        one.volume.img = shownLabels(one.labels, { hidden, outlined, shape });
      }
    }
    nv.volumes = loaded.map((one) => one.volume);
    nv.back = nv.volumes[0];
    nv.overlays = nv.volumes.slice(1);
    this.#refresh();
    this.#tellPlace();
  }

  setView(name, { isFlat }) {
    this.nv.setSliceType(this.kinds[isFlat ? "axial" : name]);
  }

  setWindow(one, darkest, brightest) {
    one.volume.cal_min = darkest;
    one.volume.cal_max = Math.max(brightest, darkest + 1e-6);
    this.#refresh();
  }

  setCrosshair(isShown) {
    this.nv.setCrosshairWidth(isShown ? CROSSHAIR : 0);
  }

  setSmooth(isSmooth) {
    this.nv.setInterpolation(!isSmooth);
  }

  // The half of the image that faces the reader is cut away; label maps stay whole.
  setCut(isCut) {
    const { renderAzimuth, renderElevation } = this.nv.scene;
    this.nv.setClipPlane(isCut ? [0, (renderAzimuth + 180) % 360, renderElevation] : NO_CUT);
  }

  lookAt(millimetres) {
    this.nv.scene.crosshairPos = this.nv.mm2frac(millimetres);
    this.nv.drawScene();
    this.#tellPlace();
  }

  move(x, y, z) {
    if (!this.drawn.length) return;
    this.nv.moveCrosshairInVox(x, y, z);
    this.#tellPlace();
  }

  turn(azimuth, elevation) {
    const scene = this.nv.scene;
    this.nv.setRenderAzimuthElevation(scene.renderAzimuth + azimuth, scene.renderElevation + elevation);
  }

  async picture() {
    this.nv.drawScene();
    return new Promise((resolve) => this.canvas.toBlob(resolve, "image/png"));
  }

  #refresh() {
    const nv = this.nv;
    const before = nv.overlayTexture;
    nv.updateGLVolume();
    // NiiVue makes this texture anew and leaves the old one to the garbage collector, which may come late.
    if (before && before !== nv.overlayTexture) nv.gl.deleteTexture(before);
  }

  #tellPlace() {
    if (!this.drawn.length) return;
    const millimetres = this.nv.frac2mm(this.nv.scene.crosshairPos, 0, true);
    const values = this.drawn.map((one) => {
      const volume = one.volume;
      const drawnImage = volume.img;
      if (one.labels) volume.img = one.labels;
      const [x, y, z] = volume.mm2vox([...millimetres]);
      const value = volume.getValue(x, y, z, 0);
      volume.img = drawnImage;
      return { layer: one.layer, value };
    });
    this.onPlace([...millimetres].slice(0, 3), values);
  }
}

function colormap(colours) {
  const all = [[0, 0, 0], ...colours];
  return {
    R: all.map((one) => one[0]), G: all.map((one) => one[1]), B: all.map((one) => one[2]),
    A: all.map((_, index) => (index ? 255 : 0)), I: all.map((_, index) => index),
  };
}
