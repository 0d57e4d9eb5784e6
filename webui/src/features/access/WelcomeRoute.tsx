import { Alert, Button, Group, Paper, Stack, Text, Title } from '@mantine/core'
import { useNavigate } from '@tanstack/react-router'
import { type FormEvent, useState } from 'react'
import { useTranslation } from 'react-i18next'
import { redeemTicket } from '../../shared/auth'
import { usePageTitle } from '../../shared/usePageTitle'
import { acceptable, PasswordFields } from './PasswordFields'

export default function WelcomeRoute() {
  const { t } = useTranslation()
  const navigate = useNavigate()
  const [ticket] = useState(() => location.hash.slice(1))
  const [value, setValue] = useState({ first: '', second: '' })
  const [error, setError] = useState<string>()
  const [busy, setBusy] = useState(false)

  usePageTitle(t('login.welcome'))

  async function submit(event: FormEvent) {
    event.preventDefault()
    setBusy(true)
    setError(undefined)
    try {
      await redeemTicket(ticket, value.first)
      await navigate({ to: '/', replace: true })
    } catch (failure) {
      setError((failure as Error).message)
      setBusy(false)
    }
  }

  return (
    <main className="centre">
      <Paper className="card" p="xl" radius="lg" w="100%" maw={420} shadow="sm">
        <form onSubmit={submit}>
          <Stack gap="md">
            <Group gap="sm">
              <img src="/icon.svg" alt="" width={36} height={36} />
              <div>
                <Title order={1} size="h3">
                  {t('login.welcome')}
                </Title>
                <Text size="sm" c="dimmed">
                  {t('login.choose')}
                </Text>
              </div>
            </Group>
            {!ticket && <Alert color="yellow">{t('login.badLink')}</Alert>}
            {error && (
              <Alert color="red" role="alert">
                {error}
              </Alert>
            )}
            <PasswordFields value={value} onChange={setValue} />
            <Button type="submit" loading={busy} disabled={!ticket || !acceptable(value)} fullWidth mt="xs">
              {t('login.set')}
            </Button>
          </Stack>
        </form>
      </Paper>
    </main>
  )
}
