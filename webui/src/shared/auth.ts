/** Who is logged in. The access token lives in memory only; the refresh token in a cookie that no script can read. */

import { useSyncExternalStore } from 'react'
import { stringifyDocument, type TypedDocumentNode } from 'urql'
import { graphql } from '../gql'
import { belongTo, leaveNothing, onOwnerElsewhere } from './personal'

export type Viewer = {
  id: string
  email: string
  name: string
  role: 'SUPERADMIN' | 'DOMAIN_ADMIN' | 'USER'
  permissions: string[]
  mustChangePassword: boolean
  mustSetUpTotp: boolean
}

type Login = { accessToken: string; expiresAt: string; viewer: RawViewer }
type RawViewer = {
  role: Viewer['role']
  permissions: string[]
  mustChangePassword: boolean
  mustSetUpTotp: boolean
  user: { id: string; email: string; name: string }
}

export class ApiError extends Error {
  constructor(
    message: string,
    readonly code: string,
    readonly paths: string[][] = [],
  ) {
    super(message)
  }
}

/** Who is in; or, where a second factor is asked for, the ticket for `confirmLogin`. */
export type Entered = { viewer: Viewer } | { ticket: string }
/** What is answered: all of a login, or what comes before the second half of one. */
type Answered = { [name in keyof Login]?: Login[name] | null } & { secondFactor?: { ticket: string } | null }

graphql(`
  fragment LoggedIn on LoginPayload {
    accessToken
    expiresAt
    viewer {
      role
      permissions
      mustChangePassword
      mustSetUpTotp
      user {
        id
        email
        name
      }
    }
  }
`)

let token: { value: string; ends: number } | undefined
let viewer: Viewer | null | undefined
/** Whether the login ended by the user's own wish. */
let left = false
const listeners = new Set<() => void>()

/** Ask the API without the console's cache: for what happens before there is a login. */
export async function ask<T, V extends object>(document: TypedDocumentNode<T, V>, variables: V): Promise<T> {
  const headers: Record<string, string> = { 'content-type': 'application/json' }
  if (token) headers.authorization = `Bearer ${token.value}`
  const response = await fetch('/graphql', {
    method: 'POST',
    credentials: 'same-origin',
    headers,
    body: JSON.stringify({ query: stringifyDocument(document), variables }),
  })
  const content = await response.json()
  const error = content.errors?.[0]
  if (error) {
    const paths = content.errors.map(
      (one: { extensions?: { path?: string[] } }) => one.extensions?.path ?? [],
    )
    throw new ApiError(error.message, error.extensions?.code ?? 'INTERNAL', paths)
  }
  return content.data
}

/** A login that is whole. */
function whole(answered: Answered): Login {
  const { accessToken, expiresAt, viewer } = answered
  if (!accessToken || !expiresAt || !viewer) throw new ApiError('The login is not complete.', 'INTERNAL')
  return { accessToken, expiresAt, viewer }
}

function take(answered: Answered): Viewer {
  const login = whole(answered)
  token = { value: login.accessToken, ends: Date.parse(login.expiresAt) }
  const { user, ...rest } = login.viewer
  viewer = { ...user, ...rest }
  left = false
  belongTo(viewer.id)
  announce()
  return viewer
}

function enter(answered: Answered): Entered {
  return answered.secondFactor ? { ticket: answered.secondFactor.ticket } : { viewer: take(answered) }
}

function announce() {
  for (const listener of listeners) listener()
}

const LOGIN = graphql(`
  mutation Login($input: LoginInput!) {
    login(input: $input) {
      ...LoggedIn
      secondFactor {
        ticket
      }
    }
  }
`)

export async function login(email: string, password: string): Promise<Entered> {
  return enter((await ask(LOGIN, { input: { email, password } })).login)
}

const REDEEM = graphql(`
  mutation Redeem($input: RedeemTicketInput!) {
    redeemTicket(input: $input) {
      ...LoggedIn
      secondFactor {
        ticket
      }
    }
  }
`)

export async function redeemTicket(ticket: string, newPassword: string): Promise<Entered> {
  return enter((await ask(REDEEM, { input: { ticket, newPassword } })).redeemTicket)
}

export type LoginProvider = { name: string; title: string }

export type LegalText = { version: string; text: string; url: string | null }
/** What is offered to whoever is not logged in. */
export type Access = {
  signUpMode: 'CLOSED' | 'INVITATION' | 'OPEN'
  features: string[]
  loginProviders: LoginProvider[]
  termsOfService: LegalText | null
  privacyPolicy: LegalText | null
}

const OFFERED = graphql(`
  query AccessOffered {
    server {
      signUpMode
      features
      loginProviders {
        name
        title
      }
      termsOfService {
        version
        text
        url
      }
      privacyPolicy {
        version
        text
        url
      }
    }
  }
`)

export async function accessOffered(): Promise<Access> {
  return (await ask(OFFERED, {})).server
}

export type SignUp = {
  email: string
  name: string
  password: string
  language: string
  invitationToken?: string
  acceptedTermsVersion?: string
  acceptedPrivacyVersion?: string
}

const SIGN_UP = graphql(`
  mutation SignUp($input: SignUpInput!) {
    signUp(input: $input) {
      verificationRequired
      mailDelayed
    }
  }
`)

export async function signUp(
  input: SignUp,
): Promise<{ verificationRequired: boolean; mailDelayed: boolean }> {
  return (await ask(SIGN_UP, { input })).signUp
}

const FORGOT = graphql(`
  mutation Forgot($input: RequestPasswordResetInput!) {
    requestPasswordReset(input: $input) {
      mailDelayed
    }
  }
`)

export async function requestPasswordReset(email: string): Promise<{ mailDelayed: boolean }> {
  return (await ask(FORGOT, { input: { email } })).requestPasswordReset
}

const CONFIRM = graphql(`
  mutation ConfirmLogin($input: ConfirmLoginInput!) {
    confirmLogin(input: $input) {
      ...LoggedIn
    }
  }
`)

export async function confirmLogin(ticket: string, code: string): Promise<Viewer> {
  return take((await ask(CONFIRM, { input: { ticket, code } })).confirmLogin)
}

const VERIFY = graphql(`
  mutation VerifyEmail($input: VerifyEmailInput!) {
    verifyEmail(input: $input) {
      email
    }
  }
`)

export async function verifyEmail(token: string): Promise<string> {
  return (await ask(VERIFY, { input: { token } })).verifyEmail.email
}

const CHANGE = graphql(`
  mutation Change($input: ChangePasswordInput!) {
    changePassword(input: $input) {
      accessToken
      expiresAt
      viewer {
        role
        permissions
        mustChangePassword
        mustSetUpTotp
      mustSetUpTotp
        user {
          id
          email
          name
        }
      }
    }
  }
`)

export async function changePassword(currentPassword: string, newPassword: string): Promise<void> {
  take((await ask(CHANGE, { input: { currentPassword, newPassword } })).changePassword)
}

const FACTOR_ON = graphql(`
  query SecondFactorOn {
    viewer {
      user {
        totpEnabled
      }
    }
  }
`)

/** Whether logins by password ask for a code. */
export async function secondFactorOn(): Promise<boolean> {
  return (await ask(FACTOR_ON, {})).viewer?.user.totpEnabled ?? false
}

const START_TOTP = graphql(`
  mutation StartTotp($input: StartTotpInput!) {
    startTotp(input: $input) {
      secret
      url
      qrCode
    }
  }
`)

/** `qrCode`: an SVG document. */
export type StartedTotp = { secret: string; url: string; qrCode: string }

export async function startTotp(password: string): Promise<StartedTotp> {
  return (await ask(START_TOTP, { input: { password } })).startTotp
}

const CONFIRM_TOTP = graphql(`
  mutation ConfirmTotp($input: ConfirmTotpInput!) {
    confirmTotp(input: $input) {
      recoveryCodes
    }
  }
`)

/** Returns the recovery codes. */
export async function confirmTotp(code: string): Promise<string[]> {
  return (await ask(CONFIRM_TOTP, { input: { code } })).confirmTotp.recoveryCodes
}

const DISABLE_TOTP = graphql(`
  mutation DisableTotp($input: DisableTotpInput!) {
    disableTotp(input: $input) {
      user {
        id
      }
    }
  }
`)

export async function disableTotp(password: string, code: string): Promise<void> {
  await ask(DISABLE_TOTP, { input: { password, code } })
}

const LOGOUT = graphql(`
  mutation Logout {
    logout {
      deletedId
    }
  }
`)

export async function logout(): Promise<void> {
  await ask(LOGOUT, {}).catch(() => undefined)
  leave()
}

function leave() {
  left = true
  leaveNothing()
  forget()
}

/** Whether nobody is logged in because the user logged out, here or in another tab. */
export function hasLeft(): boolean {
  return left
}

// All tabs are one login: what another tab did holds here too.
onOwnerElsewhere((userId) => {
  if (!viewer) return
  if (userId === null) leave()
  else void refresh()
})

/** The login has ended, here or elsewhere. */
export function forget() {
  token = undefined
  viewer = null
  announce()
}

/** An access token that lasts a little longer; null when nobody is logged in. */
export async function freshToken(): Promise<string | null> {
  if (token && token.ends - Date.now() > 30_000) return token.value
  return refresh()
}

let refreshing: Promise<string | null> | undefined

/** Renew the login; one at a time over all tabs, for each refresh token counts once. */
export function refresh(): Promise<string | null> {
  refreshing ??= (navigator.locks ? navigator.locks.request('berth-refresh', renew) : renew()).finally(() => {
    refreshing = undefined
  })
  return refreshing
}

const REFRESH = graphql(`
  mutation Refresh($input: RefreshLoginInput!) {
    refreshLogin(input: $input) {
      ...LoggedIn
    }
  }
`)

async function renew(): Promise<string | null> {
  try {
    take((await ask(REFRESH, { input: {} })).refreshLogin)
    return token?.value ?? null
  } catch (error) {
    // Only a clear no ends the login: a server that cannot be reached says nothing about it.
    if (error instanceof ApiError && error.code === 'UNAUTHENTICATED') forget()
    return null
  }
}

/** Who is logged in, asking the server once after the page was loaded. */
export async function currentViewer(): Promise<Viewer | null> {
  if (viewer === undefined) {
    token = undefined
    await refresh()
    viewer ??= null
  }
  return viewer
}

export function useViewer(): Viewer | null {
  return useSyncExternalStore(
    (listener) => {
      listeners.add(listener)
      return () => listeners.delete(listener)
    },
    () => viewer ?? null,
  )
}

export const PASSWORD_RULES = {
  length: (text: string) => text.length >= 8,
  letter: (text: string) => /\p{L}/u.test(text),
  digit: (text: string) => /\d/.test(text),
  special: (text: string) => /[^\p{L}\d\s]/u.test(text),
} as const
