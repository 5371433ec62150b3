// The functions of the page that extensions' scripts call, under A1111's names, and the progress of a generation.

function gradioApp() {
    const elems = document.getElementsByTagName('gradio-app');
    const elem = elems.length === 0 ? document : elems[0];
    if (elem !== document) {
        elem.getElementById = (id) => document.getElementById(id);
    }
    return elem.shadowRoot ? elem.shadowRoot : elem;
}

const uiLoadedCallbacks = [];
const uiUpdateCallbacks = [];
const uiAfterUpdateCallbacks = [];
const uiTabChangeCallbacks = [];

function callAll(callbacks, argument) {
    for (const callback of callbacks) {
        try {
            callback(argument);
        } catch (error) {
            console.error('error in a callback of the page:', error);
        }
    }
}

function onUiLoaded(callback) { uiLoadedCallbacks.push(callback); }
function onUiUpdate(callback) { uiUpdateCallbacks.push(callback); }
function onAfterUiUpdate(callback) { uiAfterUpdateCallbacks.push(callback); }
function onUiTabChange(callback) { uiTabChangeCallbacks.push(callback); }

document.addEventListener('DOMContentLoaded', () => {
    let loaded = false;
    let timer = null;
    const observer = new MutationObserver((mutations) => {
        if (!loaded && gradioApp().querySelector('#txt2img_prompt')) {
            loaded = true;
            callAll(uiLoadedCallbacks);
        }
        callAll(uiUpdateCallbacks, mutations);
        clearTimeout(timer);
        timer = setTimeout(() => callAll(uiAfterUpdateCallbacks), 200);
    });
    observer.observe(gradioApp(), {childList: true, subtree: true});
});

function get_uiCurrentTab() {
    return gradioApp().querySelector('#tabs > .tab-nav > button.selected, #tabs button[role=tab].selected');
}

function get_uiCurrentTabContent() {
    return Array.from(gradioApp().querySelectorAll('#tabs > .tabitem[id^=tab_]'))
        .find((x) => x.style.display !== 'none');
}

function all_gallery_buttons() {
    const tab = get_uiCurrentTabContent() || gradioApp();
    const buttons = tab.querySelectorAll('.thumbnails > .thumbnail-item, .thumbnail-item.thumbnail-small');
    return Array.from(new Set(buttons)).filter((x) => x.parentElement.offsetParent);
}

function selected_gallery_button() {
    return all_gallery_buttons().find((x) => x.classList.contains('selected')) || null;
}

function selected_gallery_index() {
    return all_gallery_buttons().findIndex((x) => x.classList.contains('selected'));
}

function randomId() {
    return `task(${Math.random().toString(36).slice(2, 7)}${Math.random().toString(36).slice(2, 7)})`;
}

function showProgress(tab, id) {
    const place = gradioApp().querySelector(`#${tab}_progress`);
    const started = Date.now();
    let seen = false;
    const finish = () => { if (place) place.replaceChildren(); };
    const poll = async() => {
        let state;
        try {
            const response = await fetch('./internal/progress', {
                method: 'POST',
                headers: {'Content-Type': 'application/json'},
                body: JSON.stringify({id_task: id, live_preview: false}),
            });
            state = await response.json();
        } catch (error) {
            finish();
            return;
        }
        seen = seen || state.active || state.queued;
        if (state.completed || (!seen && Date.now() - started > 20000)) {
            finish();
            return;
        }
        if (place) {
            const percent = Math.round((state.progress || 0) * 100);
            const bar = document.createElement('div');
            const fill = document.createElement('div');
            const text = document.createElement('span');
            bar.className = 'miniwebui-progress';
            fill.style.width = `${percent}%`;
            text.textContent = state.active ? `${percent}%` : (state.textinfo || '');
            bar.append(fill, text);
            place.replaceChildren(bar);
        }
        setTimeout(poll, 500);
    };
    poll();
}

function submitTask(tab, args) {
    const id = randomId();
    const values = Array.from(args);
    values[0] = id;
    showProgress(tab, id);
    return values;
}

function submitUpscale(tab, args) {
    const values = submitTask(tab, args);
    values[2] = selected_gallery_index();
    return values;
}

function switch_to_txt2img() { clickTab(0, arguments); return Array.from(arguments); }
function switch_to_img2img() { clickTab(1, arguments); return Array.from(arguments); }

function clickTab(index) {
    const buttons = gradioApp().querySelectorAll('#tabs > .tab-nav > button, #tabs > div > button[role=tab]');
    if (buttons[index]) buttons[index].click();
}

function updateInput(target) {
    const event = new Event('input', {bubbles: true});
    Object.defineProperty(event, 'target', {value: target});
    target.dispatchEvent(event);
}
