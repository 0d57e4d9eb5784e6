import { beforeEach, expect, test, vi } from 'vitest'

let personal: typeof import('./personal')

beforeEach(async () => {
  localStorage.clear()
  sessionStorage.clear()
  vi.resetModules()
  personal = await import('./personal')
})

test('what is kept comes back to the same user, after a reload too', async () => {
  personal.belongTo('usr_1')
  personal.keep('browser', 'scope', { groupId: 'grp_1' })
  personal.keep('tab', 'terminals', ['w1'])
  vi.resetModules()
  const reloaded = await import('./personal')
  reloaded.belongTo('usr_1')
  expect(reloaded.recall('browser', 'scope', null)).toEqual({ groupId: 'grp_1' })
  expect(reloaded.recall('tab', 'terminals', null)).toEqual(['w1'])
})

test('another user finds nothing of it, and what was read of it is told', () => {
  personal.belongTo('usr_1')
  personal.keep('browser', 'scope', 1)
  personal.keep('tab', 'terminals', 1)
  const told = vi.fn()
  personal.onNewOwner(told)
  personal.belongTo('usr_2')
  expect(personal.recall('browser', 'scope', null)).toBeNull()
  expect(personal.recall('tab', 'terminals', null)).toBeNull()
  expect(told).toHaveBeenCalledOnce()
})

test('a tab that slept while another user logged in elsewhere keeps nothing either', () => {
  personal.belongTo('usr_1')
  personal.keep('tab', 'terminals', 1)
  localStorage.setItem('berth.owner', 'usr_2')
  personal.belongTo('usr_2')
  expect(personal.recall('tab', 'terminals', null)).toBeNull()
})

test('logging out leaves nothing, but language and colours of the browser', () => {
  localStorage.setItem('berth.language', 'ko')
  personal.belongTo('usr_1')
  personal.keep('browser', 'scope', 1)
  personal.leaveNothing()
  expect(Object.keys(localStorage)).toEqual(['berth.language'])
  expect(Object.keys(sessionStorage)).toEqual([])
})

test('what cannot be read is as good as nothing', () => {
  localStorage.setItem('berth.my.scope', '{broken')
  expect(personal.recall('browser', 'scope', 'otherwise')).toBe('otherwise')
})

test('a login elsewhere is heard, our own is not', () => {
  personal.belongTo('usr_1')
  const heard = vi.fn()
  personal.onOwnerElsewhere(heard)
  const event = (newValue: string | null) =>
    dispatchEvent(new StorageEvent('storage', { key: 'berth.owner', newValue, storageArea: localStorage }))
  event('usr_1')
  event('usr_2')
  event(null)
  expect(heard.mock.calls).toEqual([['usr_2'], [null]])
})
