import { Alert, Button } from '@mantine/core'
import { useNavigate } from '@tanstack/react-router'
import { useState } from 'react'
import { useTranslation } from 'react-i18next'
import { confirmLogin, redeemTicket } from '../../shared/auth'
import { usePageTitle } from '../../shared/usePageTitle'
import { AccessCard } from './AccessCard'
import { CodeField } from './CodeField'
import { acceptable, PasswordFields } from './PasswordFields'
import { useSubmission } from './useSubmission'

export default function WelcomeRoute() {
  const { t } = useTranslation()
  const navigate = useNavigate()
  const [ticket] = useState(() => location.hash.slice(1))
  const [value, setValue] = useState({ first: '', second: '' })
  const [half, setHalf] = useState<string>()
  const [code, setCode] = useState('')
  const { submit, error, busy } = useSubmission(async () => {
    if (half) await confirmLogin(half, code)
    else {
      const entered = await redeemTicket(ticket, value.first)
      if ('ticket' in entered) return setHalf(entered.ticket)
    }
    await navigate({ to: '/', replace: true })
  })

  usePageTitle(t('login.welcome'))

  return (
    <AccessCard title={t('login.welcome')} subtitle={t('login.choose')} error={error} onSubmit={submit}>
      {!ticket && <Alert color="yellow">{t('login.badLink')}</Alert>}
      {half ? (
        <CodeField value={code} onChange={setCode} />
      ) : (
        <PasswordFields value={value} onChange={setValue} />
      )}
      <Button
        type="submit"
        loading={busy}
        disabled={half ? !code : !ticket || !acceptable(value)}
        fullWidth
        mt="xs"
      >
        {t('login.set')}
      </Button>
    </AccessCard>
  )
}
